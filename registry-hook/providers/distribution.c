/* SPDX-License-Identifier: Apache-2.0
 *
 * CNCF Distribution's notifications (distribution.github.io/distribution/about/notifications): an envelope of events,
 * of blobs and manifests alike, for pulls too. It repeats an envelope that is not answered 2xx for ever and sends no
 * other meanwhile, so that whatever is no error of the sender's must pass.
 */
#include <string.h>

#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

int hook_distribution_event(const struct hook_endpoint *endpoint, json_t *event, struct hook_events *events,
                            char *reason, struct zp_error *err) {
        const char *action, *actor, *artifact_type;
        struct hook_event_text text = { 0 };
        const struct hook_field head[] = { { "action", ZP_JSON_REQUIRED, &action } };
        const struct hook_field body[] = {
                { "id", ZP_JSON_OPTIONAL, &text.id },
                { "target.repository", ZP_JSON_REQUIRED, &text.repository },
                { "target.tag", ZP_JSON_OPTIONAL, &text.tag },
                { "target.digest", ZP_JSON_OPTIONAL, &text.digest },
                { "target.mediaType", ZP_JSON_OPTIONAL, &text.media_type },
                { "target.artifactType", ZP_JSON_OPTIONAL, &artifact_type },
                { "request.host", ZP_JSON_OPTIONAL, &text.host },
                { "request.useragent", ZP_JSON_OPTIONAL, &text.agent },
                { "actor.name", ZP_JSON_OPTIONAL, &actor },
        };
        int r = HOOK_PAYLOAD_READ(event, head, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(action, "push") == 0;
        if (!is_push && strcmp(action, "delete") != 0)
                return hook_payload_ignore(reason, "%s", action);
        r = HOOK_PAYLOAD_READ(event, body, err);
        if (r < 0)
                return r;
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        if (artifact_type && hook_payload_is_own(artifact_type))
                text.media_type = artifact_type;
        if (!text.agent || !*text.agent)
                text.agent = actor;
        return hook_payload_add(endpoint, events, &text, reason, err);
}

HOOK_PARSE(hook_distribution_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        json_t *list, *event;
        size_t i;
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = zp_json_get(root, "events", JSON_ARRAY, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &list, err);
        if (r < 0)
                return r;
        json_array_foreach(list, i, event) {
                r = hook_distribution_event(endpoint, event, events, reason, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
