/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/withdraw.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/json.h"
#include "oci/reference.h"
#include "oci/transfer.h"

#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"

/* 0 for 2xx; -ENOENT for 404; the registry's reason otherwise. */
static int ask(struct zp_registry *registry, const char *reference, const struct zp_http_request *request,
               struct zp_buffer *body, struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", reference);
        struct zp_http_response response = { 0 };
        int r = path ? zp_registry_request(registry, path, request, &response, err)
                     : zp_error_errno(err, ENOMEM, "withdraw");
        if (r == 0 && response.status == 405)
                r = zp_error_set(err, ENOTSUP, "%s does not allow deletion", zp_registry_name(registry));
        else if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(registry, &response, err);
        if (r == 0 && body)
                *body = response.body, response.body = (struct zp_buffer){ 0 };
        zp_http_response_clear(&response);
        return r;
}

/* ---- the fallback tag ---- */

/* The index without the artifact; 1: it had it. */
static int without(json_t *index, const char *artifact) {
        json_t *entries = json_object_get(index, "manifests");
        for (size_t i = 0; i < json_array_size(entries); i++) {
                const char *digest = json_string_value(json_object_get(json_array_get(entries, i), "digest"));
                if (digest && strcmp(digest, artifact) == 0)
                        return json_array_remove(entries, i) == 0;
        }
        return 0;
}

static int read_text(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) err;
        memcpy(buffer, (const char *) context + offset, size);
        return 0;
}

static int put_index(struct zp_registry *registry, const char *tag, json_t *index, struct zp_error *err) {
        zp_autofree char *text = json_dumps(index, JSON_COMPACT);
        if (!text)
                return zp_error_errno(err, ENOMEM, "withdraw");
        struct zp_http_body body = {
                .size = strlen(text), .content_type = INDEX_TYPE, .read = read_text, .context = text
        };
        struct zp_http_request request = {
                .is_for_push = true, .method = "PUT", .body = &body, .body_limit = ZP_LIMIT_JSON_SIZE
        };
        return ask(registry, tag, &request, NULL, err);
}

/* Registries that have the referrers API have no such tag, and nothing is to be done. */
static int drop_from_fallback(struct zp_registry *registry, const char *digest, const char *artifact,
                              struct zp_error *err) {
        char tag[ZP_DIGEST_TEXT_SIZE];
        zp_autobuffer struct zp_buffer body = { 0 };
        zp_auto(json_decref) json_t *index = NULL;
        struct zp_http_request request = { .is_for_push = true,
                                           .accept = INDEX_TYPE,
                                           .body_limit = ZP_LIMIT_JSON_SIZE };
        snprintf(tag, sizeof tag, "%s", digest);
        *strchr(tag, ':') = '-';
        int r = ask(registry, tag, &request, &body, err);
        if (r == 0)
                r = zp_json_load(body.data ? body.data : "", body.size, "fallback tag", &index, err);
        if (r == 0 && without(index, artifact))
                r = put_index(registry, tag, index, err);
        return r == -ENOENT ? 0 : r;
}

/* ---- */

int zp_withdraw(const char *remote, const char *subject, const char *artifact, const struct zp_source_options *options,
                struct zp_error *err) {
        struct zp_reference reference;
        struct zp_digest digest;
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        const struct zp_http_request removal = { .is_for_push = true, .method = "DELETE" };
        int r = zp_digest_parse(subject, &digest, err);
        if (r == 0)
                r = zp_digest_parse(artifact, &digest, err);
        if (r == 0)
                r = zp_reference_of_name(remote, &reference, err);
        if (r < 0)
                return r;
        r = zp_registry_new(reference.registry, reference.repository, options, &registry, err);
        /* The artifact first: where that is refused all is as it was, and where this ends in between it can be done
         * again. Whoever reads the list meanwhile passes over what is not there, or still takes it where the list has
         * it in itself. */
        if (r == 0)
                r = ask(registry, artifact, &removal, NULL, err);
        if (r == 0 || r == -ENOENT)
                r = drop_from_fallback(registry, subject, artifact, err);
        zp_reference_clear(&reference);
        return r;
}
