/* SPDX-License-Identifier: Apache-2.0
 *
 * The plain form, for pipelines and scripts: {"image": "registry.example/app:1.0"}, and where it matters "digest",
 * "action" ("push" or "delete") and "id".
 */
#include <string.h>

#include "oci/reference.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

static int add_image(const struct hook_endpoint *endpoint, const char *image, struct hook_event_text *text,
                     struct hook_events *events, char *reason, struct zp_error *err) {
        struct zp_reference reference;
        char digest[ZP_DIGEST_TEXT_SIZE];
        struct zp_error cause = { 0 };
        int r = zp_reference_parse(image, &reference, &cause);
        if (r < 0)
                return zp_error_set(err, r == -ENOMEM ? ENOMEM : EBADMSG, "%s", cause.message);
        text->host = reference.registry;
        text->repository = reference.repository;
        text->tag = reference.tag;
        if (reference.has_digest)
                text->digest = zp_digest_text(&reference.digest, digest);
        size_t odd = events->odd;
        r = hook_payload_add(endpoint, events, text, reason, err);
        zp_reference_clear(&reference);
        if (r == 0 && events->odd > odd) /* no registry sends it again, and who wrote it wants to know */
                return zp_error_set(err, EBADMSG, "%s", reason);
        return r;
}

HOOK_PARSE(hook_generic_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *image, *action;
        struct hook_event_text text = { .agent = request->header(request->context, "User-Agent") };
        const struct hook_field fields[] = {
                { "image", ZP_JSON_REQUIRED, &image },
                { "action", ZP_JSON_OPTIONAL, &action },
                { "digest", ZP_JSON_OPTIONAL, &text.digest },
                { "id", ZP_JSON_OPTIONAL, &text.id },
        };
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        bool is_delete = action && strcmp(action, "delete") == 0;
        if (action && !is_delete && strcmp(action, "push") != 0)
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": 'action' is neither push nor delete");
        text.kind = is_delete ? HOOK_DELETE : HOOK_PUSH;
        return add_image(endpoint, image, &text, events, reason, err);
}
