/* SPDX-License-Identifier: Apache-2.0
 *
 * Sonatype Nexus 3's repository webhooks (help.sonatype.com, "Webhooks"): a component is a tag of an image, an asset a
 * blob. The registry's host and port are the connector's and not told.
 */
#include <string.h>

#include "base/buffer.h"
#include "registry-hook/providers/authentication.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

/* The body without white space between its tokens. */
static bool squeeze(const char *body, size_t size, char *out, size_t *out_size) {
        bool in_string = false, is_shorter = false;
        size_t n = 0;
        for (size_t i = 0; i < size; i++) {
                char c = body[i];
                if (!in_string && (c == ' ' || c == '\t' || c == '\r' || c == '\n')) {
                        is_shorter = true;
                        continue;
                }
                out[n++] = c;
                if (in_string && c == '\\' && i + 1 < size)
                        out[n++] = body[++i];
                else if (c == '"')
                        in_string = !in_string;
        }
        *out_size = n;
        return is_shorter;
}

/* Documented as over the JSON "without whitespace", which what is sent mostly is already. */
HOOK_AUTHENTICATE(hook_nexus_authenticate) {
        const char *signature = request->header(request->context, "X-Nexus-Webhook-Signature");
        int r = hook_auth_hmac(endpoint, HOOK_HMAC_SHA1, signature, request->body, request->body_size, err);
        if (r != -EACCES || !signature)
                return r;
        zp_autofree char *squeezed = malloc(request->body_size + 1);
        size_t size;
        if (!squeezed)
                return zp_error_errno(err, ENOMEM, "authentication");
        if (!squeeze(request->body, request->body_size, squeezed, &size))
                return r;
        return hook_auth_hmac(endpoint, HOOK_HMAC_SHA1, signature, squeezed, size, err);
}

HOOK_PARSE(hook_nexus_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *webhook = request->header(request->context, "X-Nexus-Webhook-Id"), *action, *format, *version;
        struct hook_event_text text = { .id = request->header(request->context, "X-Nexus-Webhook-Delivery") };
        const struct hook_field head[] = {
                { "action", ZP_JSON_REQUIRED, &action },
                { "component.format", ZP_JSON_REQUIRED, &format },
        };
        const struct hook_field body[] = {
                /* other formats' components need not have them all */
                { "initiator", ZP_JSON_OPTIONAL, &text.agent },
                { "component.name", ZP_JSON_REQUIRED, &text.repository },
                { "component.version", ZP_JSON_REQUIRED, &version },
        };
        if (!webhook)
                return zp_error_set(err, EBADMSG, "X-Nexus-Webhook-Id is missing");
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        if (strcmp(webhook, "rm:repository:component") != 0)
                return hook_payload_ignore(reason, "%s", webhook);
        r = HOOK_PAYLOAD_READ(root, head, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(action, "CREATED") == 0 || strcmp(action, "UPDATED") == 0;
        if (strcmp(format, "docker") != 0 || (!is_push && strcmp(action, "DELETED") != 0))
                return hook_payload_ignore(reason, "%s: %s", format, action);
        r = HOOK_PAYLOAD_READ(root, body, err);
        if (r < 0)
                return r;
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        *(strchr(version, ':') ? &text.digest : &text.tag) = version;
        return hook_payload_add(endpoint, events, &text, reason, err);
}
