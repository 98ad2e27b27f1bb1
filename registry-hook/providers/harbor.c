/* SPDX-License-Identifier: Apache-2.0
 *
 * Harbor's webhooks (goharbor.io/docs, "Configure Webhook Notifications"): its own form, and the same in a CloudEvent.
 */
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

/* A CloudEvent's id is that of all its resources. */
static char *resource_id(const char *id, size_t i) {
        return i ? zp_format("%s/%zu", id, i) : strdup(id);
}

static int add_resource(const struct hook_endpoint *endpoint, json_t *resource, struct hook_event_text *text, size_t i,
                        struct hook_events *events, char *reason, struct zp_error *err) {
        const char *url, *id = text->id;
        const struct hook_field fields[] = {
                { "digest", ZP_JSON_OPTIONAL, &text->digest },
                { "tag", ZP_JSON_OPTIONAL, &text->tag },
                { "resource_url", endpoint->host ? ZP_JSON_OPTIONAL : ZP_JSON_REQUIRED, &url },
        };
        int r = HOOK_PAYLOAD_READ(resource, fields, err);
        if (r < 0)
                return r;
        if (text->tag && strchr(text->tag, ':')) /* an artifact without a tag has its digest there */
                text->tag = NULL;
        zp_autofree char *host = hook_payload_host(url ? url : "");
        zp_autofree char *own_id = id ? resource_id(id, i) : NULL;
        if (!host || (id && !own_id))
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        text->host = host;
        text->id = own_id;
        r = hook_payload_add(endpoint, events, text, reason, err);
        text->host = NULL;
        text->id = id;
        return r;
}

static int add_resources(const struct hook_endpoint *endpoint, json_t *data, struct hook_event_text *text,
                         struct hook_events *events, char *reason, struct zp_error *err) {
        const struct hook_field fields[] = { { "repository.repo_full_name", ZP_JSON_REQUIRED, &text->repository } };
        json_t *list = NULL, *resource;
        size_t i;
        int r = HOOK_PAYLOAD_READ(data, fields, err);
        if (r == 0)
                r = zp_json_get(data, "resources", JSON_ARRAY, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &list, err);
        if (r < 0)
                return r;
        json_array_foreach(list, i, resource) {
                r = add_resource(endpoint, resource, text, i, events, reason, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

HOOK_PARSE(hook_harbor_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *type, *version;
        struct hook_event_text text = { 0 };
        const struct hook_field fields[] = {
                { "type", ZP_JSON_REQUIRED, &type },
                { "specversion", ZP_JSON_OPTIONAL, &version },
                { "operator", ZP_JSON_OPTIONAL, &text.agent },
                { "id", ZP_JSON_OPTIONAL, &text.id },
        };
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(type, "PUSH_ARTIFACT") == 0 || strcmp(type, "harbor.artifact.pushed") == 0;
        if (!is_push && strcmp(type, "DELETE_ARTIFACT") != 0 && strcmp(type, "harbor.artifact.deleted") != 0)
                return hook_payload_ignore(reason, "%s", type);
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        json_t *data;
        r = zp_json_get(root, version ? "data" : "event_data", JSON_OBJECT, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &data, err);
        return r < 0 ? r : add_resources(endpoint, data, &text, events, reason, err);
}
