/* SPDX-License-Identifier: Apache-2.0
 *
 * Alibaba Cloud ACR's triggers: pushes of tags only. The payload names a region; instances of the Enterprise Edition
 * and addresses inside a VPC have other hosts, which the endpoint says.
 */
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

HOOK_PARSE(hook_alibaba_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *region, *name;
        struct hook_event_text text = { .kind = HOOK_PUSH };
        const struct hook_field fields[] = {
                { "repository.repo_full_name", ZP_JSON_REQUIRED, &name },
                { "repository.region", endpoint->host ? ZP_JSON_OPTIONAL : ZP_JSON_REQUIRED, &region },
                { "push_data.tag", ZP_JSON_REQUIRED, &text.tag },
                { "push_data.digest", ZP_JSON_OPTIONAL, &text.digest },
        };
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        zp_autofree char *host = zp_format("registry.%s.aliyuncs.com", region ? region : "");
        zp_autofree char *repository = strdup(name);
        if (!host || !repository)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        hook_payload_lower(repository);
        text.host = host;
        text.repository = repository;
        return hook_payload_add(endpoint, events, &text, reason, err);
}
