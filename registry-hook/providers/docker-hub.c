/* SPDX-License-Identifier: Apache-2.0
 *
 * Docker Hub's webhooks (docs.docker.com/docker-hub/repos/manage/webhooks): pushes of tags only. The callback_url is
 * never called.
 */
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

HOOK_PARSE(hook_docker_hub_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        struct hook_event_text text = { .kind = HOOK_PUSH, .host = "docker.io" };
        const struct hook_field fields[] = {
                { "repository.repo_name", ZP_JSON_REQUIRED, &text.repository },
                { "push_data.tag", ZP_JSON_REQUIRED, &text.tag },
                { "push_data.pusher", ZP_JSON_OPTIONAL, &text.agent },
        };
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(root, fields, err);
        return r < 0 ? r : hook_payload_add(endpoint, events, &text, reason, err);
}
