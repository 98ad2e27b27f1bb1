/* SPDX-License-Identifier: Apache-2.0
 *
 * zot's events (zotregistry.dev, "Event Support"): CloudEvents in HTTP's binary mode, the attributes in headers. The
 * registry's host is not told.
 */
#include <string.h>

#include "base/text.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

/* The type of the artifact that the manifest is, where it is one of ours. */
static bool is_own(const char *manifest) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *type = NULL;
        return manifest && zp_json_load(manifest, strlen(manifest), HOOK_PAYLOAD, &root, NULL) == 0 &&
               (type = json_string_value(json_object_get(root, "artifactType"))) && hook_payload_is_own(type);
}

HOOK_PARSE(hook_zot_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *type = request->header(request->context, "Ce-Type"), *reference, *manifest, *actor;
        struct hook_event_text text = { .id = request->header(request->context, "Ce-Id") };
        const struct hook_field fields[] = {
                { "name", ZP_JSON_REQUIRED, &text.repository },
                { "reference", ZP_JSON_REQUIRED, &reference },
                { "digest", ZP_JSON_OPTIONAL, &text.digest },
                { "mediaType", ZP_JSON_OPTIONAL, &text.media_type },
                { "manifest", ZP_JSON_OPTIONAL, &manifest },
                { "actor.name", ZP_JSON_OPTIONAL, &actor },
                { "request.useragent", ZP_JSON_OPTIONAL, &text.agent },
        };
        if (!type)
                return zp_error_set(err, EBADMSG, "Ce-Type is missing");
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        /* the prefix before, "zotregistry", can be configured */
        bool is_push = zp_ends_with(type, ".image.updated");
        if (!is_push && !zp_ends_with(type, ".image.deleted"))
                return hook_payload_ignore(reason, "%s", type);
        r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        if (is_own(manifest))
                return hook_payload_ignore(reason, "our own artifact");
        if (!text.agent || !*text.agent)
                text.agent = actor;
        if (!strchr(reference, ':'))
                text.tag = reference;
        else if (!text.digest)
                text.digest = reference;
        return hook_payload_add(endpoint, events, &text, reason, err);
}
