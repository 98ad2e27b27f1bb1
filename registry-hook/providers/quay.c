/* SPDX-License-Identifier: Apache-2.0
 *
 * Quay's "Push to Repository" (docs.projectquay.io, "Repository notifications"). Other events have no updated_tags. A
 * notification that fails three times is switched off.
 */
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

static int add_tag(const struct hook_endpoint *endpoint, struct hook_event_text *text, const char *tag,
                   struct hook_events *events, char *reason, struct zp_error *err) {
        if (!tag)
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": 'updated_tags' has what is not a string");
        text->tag = tag;
        return hook_payload_add(endpoint, events, text, reason, err);
}

/* A list, or as it once was an object from tags to image IDs. */
static int add_tags(const struct hook_endpoint *endpoint, struct hook_event_text *text, json_t *tags,
                    struct hook_events *events, char *reason, struct zp_error *err) {
        const char *tag;
        json_t *value;
        size_t i;
        int r = 0;
        if (json_is_object(tags)) {
                json_object_foreach(tags, tag, value) {
                        r = add_tag(endpoint, text, json_is_string(value) ? tag : NULL, events, reason, err);
                        if (r < 0)
                                break;
                }
                return r;
        }
        if (!json_is_array(tags))
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": 'updated_tags' is not a list");
        json_array_foreach(tags, i, value) {
                r = add_tag(endpoint, text, json_string_value(value), events, reason, err);
                if (r < 0)
                        break;
        }
        return r;
}

HOOK_PARSE(hook_quay_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *url;
        struct hook_event_text text = { .kind = HOOK_PUSH };
        const struct hook_field fields[] = {
                { "repository", ZP_JSON_REQUIRED, &text.repository },
                { "docker_url", endpoint->host ? ZP_JSON_OPTIONAL : ZP_JSON_REQUIRED, &url },
        };
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        json_t *tags = json_object_get(root, "updated_tags");
        if (!tags || json_is_null(tags))
                return hook_payload_ignore(reason, "no tags were pushed");
        r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        zp_autofree char *host = hook_payload_host(url ? url : "");
        if (!host)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        text.host = host;
        return add_tags(endpoint, &text, tags, events, reason, err);
}
