/* SPDX-License-Identifier: Apache-2.0
 *
 * Google Artifact Registry's messages of the topic `gcr` as a Pub/Sub push subscription delivers them, wrapped
 * (cloud.google.com/artifact-registry/docs/configure-notifications, cloud.google.com/pubsub/docs/push). The sender is
 * known by a token that Google signs for a service account, or by a shared one in the URL.
 */
#include <string.h>
#include <strings.h>

#include "base/base64.h"
#include "oci/reference.h"
#include "registry-hook/providers/authentication.h"
#include "registry-hook/providers/jwt.h"
#include "registry-hook/providers/payload.h"
#include "registry-hook/providers/providers-internal.h"

static const char *const google_issuers[] = { "https://accounts.google.com", "accounts.google.com", NULL };

HOOK_AUTHENTICATE(hook_google_authenticate) {
        if (!endpoint->keys)
                return hook_auth_token(endpoint, request, err);
        const char *header = request->header(request->context, "Authorization");
        if (!header || strncasecmp(header, "Bearer ", 7) != 0)
                return zp_error_set(err, EACCES, "not authenticated: no token was sent");
        const struct hook_jwt_expectation expectation = {
                .issuers = google_issuers,
                .audience = endpoint->audience,
                .email = endpoint->sender,
                .now_s = request->now_s,
        };
        return hook_jwt_verify(header + 7 + strspn(header + 7, " "), endpoint->keys, endpoint->keys_size, &expectation,
                               err);
}

/* The message's data: a JSON document in base64. */
static int load_data(const struct hook_request *request, struct hook_event_text *text, json_t **outer, json_t **inner,
                     struct zp_error *err) {
        const char *data;
        const struct hook_field fields[] = {
                { "message.data", ZP_JSON_REQUIRED, &data },
                { "message.messageId", ZP_JSON_OPTIONAL, &text->id },
        };
        zp_autofree uint8_t *decoded = NULL;
        size_t size;
        int r = hook_payload_load(request, outer, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(*outer, fields, err);
        if (r < 0)
                return r;
        r = zp_base64_decode(ZP_BASE64, data, strlen(data), &decoded, &size);
        if (r < 0)
                return zp_error_set(err, -r, HOOK_PAYLOAD ": 'data' is not base64");
        return zp_json_load((const char *) decoded, size, "message", inner, err);
}

static int parse_image(const char *image, struct zp_reference *out, struct zp_error *err) {
        struct zp_error cause = { 0 };
        if (!image || !*image)
                return 0;
        int r = zp_reference_parse(image, out, &cause);
        return r < 0 ? zp_error_set(err, r == -ENOMEM ? ENOMEM : EBADMSG, "%s", cause.message) : 0;
}

/* "tag" and "digest" are both whole references, of one repository. */
static int add_references(const struct hook_endpoint *endpoint, const struct zp_reference *by_digest,
                          const struct zp_reference *by_tag, struct hook_event_text *text, struct hook_events *events,
                          char *reason, struct zp_error *err) {
        const struct zp_reference *name = by_tag->registry ? by_tag : by_digest;
        char digest[ZP_DIGEST_TEXT_SIZE];
        if (!name->registry)
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": neither 'tag' nor 'digest'");
        if (by_digest->registry && (!by_digest->has_digest || strcmp(name->registry, by_digest->registry) != 0 ||
                                    strcmp(name->repository, by_digest->repository) != 0))
                return zp_error_set(err, EBADMSG, HOOK_PAYLOAD ": 'tag' and 'digest' are of two repositories");
        text->host = name->registry;
        text->repository = name->repository;
        text->tag = by_tag->tag;
        text->digest = by_digest->has_digest ? zp_digest_text(&by_digest->digest, digest) : NULL;
        return hook_payload_add(endpoint, events, text, reason, err);
}

HOOK_PARSE(hook_google_parse) {
        zp_auto(json_decref) json_t *outer = NULL, *inner = NULL;
        const char *action, *digest, *tag;
        struct hook_event_text text = { 0 };
        const struct hook_field fields[] = {
                { "action", ZP_JSON_REQUIRED, &action },
                { "digest", ZP_JSON_OPTIONAL, &digest },
                { "tag", ZP_JSON_OPTIONAL, &tag },
        };
        int r = load_data(request, &text, &outer, &inner, err);
        if (r == 0)
                r = HOOK_PAYLOAD_READ(inner, fields, err);
        if (r < 0)
                return r;
        bool is_push = strcmp(action, "INSERT") == 0;
        if (!is_push && strcmp(action, "DELETE") != 0)
                return hook_payload_ignore(reason, "%s", action);
        text.kind = is_push ? HOOK_PUSH : HOOK_DELETE;
        struct zp_reference by_digest = { 0 }, by_tag = { 0 };
        r = parse_image(digest, &by_digest, err);
        if (r == 0)
                r = parse_image(tag, &by_tag, err);
        if (r == 0)
                r = add_references(endpoint, &by_digest, &by_tag, &text, events, reason, err);
        zp_reference_clear(&by_digest);
        zp_reference_clear(&by_tag);
        return r;
}
