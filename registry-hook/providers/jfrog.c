/* SPDX-License-Identifier: Apache-2.0
 *
 * JFrog Artifactory's webhooks of the domain `docker`. The header is the secret itself or, with "Use secret for payload
 * signing", an HMAC.
 */
#include <string.h>

#include "base/buffer.h"
#include "base/text.h"
#include "registry-hook/providers/authentication.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

HOOK_AUTHENTICATE(hook_jfrog_authenticate) {
        const char *header = request->header(request->context, "X-JFrog-Event-Auth");
        if (hook_auth_compare(endpoint, header, NULL) == 0)
                return 0;
        return hook_auth_hmac(endpoint, HOOK_HMAC_SHA256, header, request->body, request->body_size, err);
}

/* An image is HOST/REPOSITORY-KEY/NAME, or REPOSITORY-KEY.DOMAIN/NAME where that is how the endpoint's host begins. */
static char *image_name(const struct hook_endpoint *endpoint, const char *key, const char *name) {
        size_t size = strlen(key);
        if (endpoint->host && strncmp(endpoint->host, key, size) == 0 && endpoint->host[size] == '.')
                return strdup(name);
        return zp_format("%s/%s", key, name);
}

static int read_event(const struct hook_endpoint *endpoint, json_t *root, struct hook_event_text *text,
                      struct hook_events *events, char *reason, struct zp_error *err) {
        const char *key, *name, *sha256, *origin;
        const struct hook_field fields[] = {
                { "data.repo_key", ZP_JSON_REQUIRED, &key },
                { "data.image_name", ZP_JSON_REQUIRED, &name },
                { "data.tag", ZP_JSON_REQUIRED, &text->tag },
                { "data.sha256", ZP_JSON_OPTIONAL, &sha256 },
                { "jpd_origin", endpoint->host ? ZP_JSON_OPTIONAL : ZP_JSON_REQUIRED, &origin },
                { "source", ZP_JSON_OPTIONAL, &text->agent },
        };
        int r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        if (zp_ends_with(key, "-cache"))
                return hook_payload_ignore(reason, "a remote repository's cache: %s", key);
        if (strncmp(text->tag, "sha256:", 7) == 0 || strncmp(text->tag, "sha256__", 8) == 0) /* pushed by digest */
                text->tag = NULL;
        zp_autofree char *digest = zp_format("sha256:%s", sha256 && *sha256 ? sha256 : "");
        zp_autofree char *host = hook_payload_host(origin ? origin : "");
        zp_autofree char *repository = image_name(endpoint, key, name);
        if (!digest || !host || !repository)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        text->digest = sha256 && *sha256 ? digest : NULL;
        text->host = host;
        text->repository = repository;
        return hook_payload_add(endpoint, events, text, reason, err);
}

HOOK_PARSE(hook_jfrog_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *domain, *type;
        struct hook_event_text text = { 0 };
        const struct hook_field fields[] = {
                { "domain", ZP_JSON_REQUIRED, &domain },
                { "event_type", ZP_JSON_REQUIRED, &type },
        };
        int r = hook_payload_load(request, &root, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(type, "pushed") == 0 || strcmp(type, "promoted") == 0;
        if (strcmp(domain, "docker") != 0 || (!is_push && strcmp(type, "deleted") != 0))
                return hook_payload_ignore(reason, "%s: %s", domain, type);
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        return read_event(endpoint, root, &text, events, reason, err);
}
