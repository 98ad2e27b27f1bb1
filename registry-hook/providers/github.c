/* SPDX-License-Identifier: Apache-2.0
 *
 * GitHub's `package` and `registry_package` events (docs.github.com/webhooks/webhook-events-and-payloads), which say
 * the same of a pushed image. Nothing is delivered twice by itself.
 */
#include <string.h>
#include <strings.h>

#include "base/buffer.h"
#include "registry-hook/providers/authentication.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

#define PREFIX "sha256="

HOOK_AUTHENTICATE(hook_github_authenticate) {
        const char *signature = request->header(request->context, "X-Hub-Signature-256");
        if (signature && strncmp(signature, PREFIX, strlen(PREFIX)) == 0)
                signature += strlen(PREFIX);
        return hook_auth_hmac(endpoint, HOOK_HMAC_SHA256, signature, request->body, request->body_size, err);
}

/* Owners have upper-case letters, names of images have none. */
static char *image_name(const char *owner, const char *name) {
        char *text = zp_format("%s/%s", owner, name);
        if (text)
                hook_payload_lower(text);
        return text;
}

static const char *first(const char *a, const char *b) {
        return a && *a ? a : b;
}

static int read_package(const struct hook_endpoint *endpoint, json_t *package, struct hook_event_text *text,
                        struct hook_events *events, char *reason, struct zp_error *err) {
        const char *type, *owner, *name, *url, *manifest, *tagged, *version;
        const struct hook_field fields[] = {
                { "package_type", ZP_JSON_REQUIRED, &type },
                { "name", ZP_JSON_REQUIRED, &name },
                { "owner.login", ZP_JSON_REQUIRED, &owner },
                { "registry.url", ZP_JSON_OPTIONAL, &url },
                { "package_version.version", ZP_JSON_OPTIONAL, &version },
                { "package_version.container_metadata.tag.name", ZP_JSON_OPTIONAL, &text->tag },
                { "package_version.container_metadata.tag.digest", ZP_JSON_OPTIONAL, &tagged },
                { "package_version.container_metadata.manifest.digest", ZP_JSON_OPTIONAL, &manifest },
                { "package_version.container_metadata.manifest.media_type", ZP_JSON_OPTIONAL, &text->media_type },
        };
        int r = HOOK_PAYLOAD_READ(package, fields, err);
        if (r < 0)
                return r;
        if (strcasecmp(type, "container") != 0)
                return hook_payload_ignore(reason, "a package of type %s", type);
        text->digest = first(tagged, first(manifest, version));
        zp_autofree char *host = hook_payload_host(first(url, "ghcr.io"));
        zp_autofree char *repository = image_name(owner, name);
        if (!host || !repository)
                return zp_error_errno(err, ENOMEM, HOOK_PAYLOAD);
        text->host = host;
        text->repository = repository;
        return hook_payload_add(endpoint, events, text, reason, err);
}

HOOK_PARSE(hook_github_parse) {
        zp_auto(json_decref) json_t *root = NULL;
        const char *event = request->header(request->context, "X-GitHub-Event"), *action;
        struct hook_event_text text = { .kind = HOOK_PUSH,
                                        .id = request->header(request->context, "X-GitHub-Delivery") };
        const struct hook_field fields[] = {
                { "action", ZP_JSON_REQUIRED, &action },
                { "sender.login", ZP_JSON_OPTIONAL, &text.agent },
        };
        if (!event)
                return zp_error_set(err, EBADMSG, "X-GitHub-Event is missing");
        int r = hook_payload_load(request, &root, err);
        if (r < 0)
                return r;
        if (strcmp(event, "package") != 0 && strcmp(event, "registry_package") != 0)
                return hook_payload_ignore(reason, "%s", event);
        r = HOOK_PAYLOAD_READ(root, fields, err);
        if (r < 0)
                return r;
        if (strcmp(action, "published") != 0 && strcmp(action, "updated") != 0)
                return hook_payload_ignore(reason, "%s", action);
        json_t *package;
        r = zp_json_get(root, event, JSON_OBJECT, ZP_JSON_REQUIRED, HOOK_PAYLOAD, &package, err);
        return r < 0 ? r : read_package(endpoint, package, &text, events, reason, err);
}
