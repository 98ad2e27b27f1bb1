/* SPDX-License-Identifier: Apache-2.0
 *
 * AWS ECR's events as an EventBridge rule hands them to an API destination
 * (docs.aws.amazon.com/AmazonECR/latest/userguide/ecr-eventbridge.html). Through SNS they are not taken: a subscription
 * is confirmed by fetching a URL out of a request, which nothing here does.
 */
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

static char *registry_host(const char *account, const char *region) {
        bool is_china = strncmp(region, "cn-", 3) == 0;
        return zp_format("%s.dkr.ecr.%s.amazonaws.com%s", account, region, is_china ? ".cn" : "");
}

static int read_detail(const struct hook_endpoint *endpoint, json_t *root, struct hook_events *events, char *reason,
                       struct zp_error *err) {
        const char *result, *action, *account, *region, *artifact_type;
        struct hook_event_text text = { 0 };
        const struct hook_field fields[] = {
                { "id", ZP_JSON_OPTIONAL, &text.id },
                { "account", ZP_JSON_REQUIRED, &account },
                { "region", ZP_JSON_REQUIRED, &region },
                { "detail.result", ZP_JSON_REQUIRED, &result },
                { "detail.action-type", ZP_JSON_REQUIRED, &action },
                { "detail.repository-name", ZP_JSON_REQUIRED, &text.repository },
                { "detail.image-digest", ZP_JSON_OPTIONAL, &text.digest },
                { "detail.image-tag", ZP_JSON_OPTIONAL, &text.tag },
                { "detail.manifest-media-type", ZP_JSON_OPTIONAL, &text.media_type },
                { "detail.artifact-media-type", ZP_JSON_OPTIONAL, &artifact_type },
        };
        int r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(action, "PUSH") == 0;
        if (strcmp(result, "SUCCESS") != 0 || (!is_push && strcmp(action, "DELETE") != 0))
                return hook_payload_ignore(reason, "%s: %s", action, result);
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        if (artifact_type && hook_payload_is_own(artifact_type))
                text.media_type = artifact_type;
        zp_autofree char *host = registry_host(account, region);
        if (!host)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        text.host = host;
        return hook_payload_add(endpoint, events, &text, reason, err);
}

HOOK_PARSE(hook_ecr_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *source, *kind;
        const struct hook_field fields[] = {
                { "source", ZP_JSON_REQUIRED, &source },
                { "detail-type", ZP_JSON_REQUIRED, &kind },
        };
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        if (request->header(request->context, "x-amz-sns-message-type"))
                return hook_payload_ignore(reason, "through SNS: not confirmed; use an EventBridge API destination");
        r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        if (strcmp(source, "aws.ecr") != 0 || strcmp(kind, "ECR Image Action") != 0)
                return hook_payload_ignore(reason, "%s: %s", source, kind);
        return read_detail(endpoint, root, events, reason, err);
}
