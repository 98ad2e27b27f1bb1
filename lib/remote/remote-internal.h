/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kind of remote has to offer; remote.h says what each function promises. remote.c checks digests of whole
 * blobs and manifests for all kinds.
 */
#ifndef ZP_REMOTE_REMOTE_INTERNAL_H
#define ZP_REMOTE_REMOTE_INTERNAL_H

#include "oci/http.h"
#include "remote/remote.h"

/* What a GET for a blob must say. */
struct zp_range_head {
        char *url;
        char *authorization;        /* as `lines` and `headers` for the URL's origin only; NULL: none */
        unsigned generation;        /* of the authorization, for answer */
        char *lines[4];             /* further ones, up to a NULL */
        const char *const *headers; /* and these, which are the remote's; not with lines */
        bool is_redirectable;       /* a server that sends us elsewhere is followed */
};

/* What range.c must know to send its requests itself. A remote has some servers, tried in this order. */
struct zp_range_kind {
        bool may_serve_several; /* ranges in one response */
        unsigned (*server_count)(void *state);
        const char *(*server_name)(void *state, unsigned server); /* with the port */
        const struct zp_http *(*http)(void *state, unsigned server);
        /* -EAGAIN, without `err`: not without waiting, and may_wait is false. */
        int (*head)(void *state, unsigned server, const struct zp_descriptor *blob, bool may_wait,
                    struct zp_range_head *out, struct zp_error *err);
        /* Answers the 401 that a head has met; may wait. NULL: a 401 is final. */
        int (*answer)(void *state, unsigned server, const struct zp_range_head *head, const char *challenges,
                      struct zp_error *err);
        bool (*may_retry)(const struct zp_http_response *response);
        /* The error that a response of other than 2xx means. */
        int (*refused)(void *state, unsigned server, const struct zp_http_response *response, struct zp_error *err);
};

struct zp_remote_kind {
        const char *prefix; /* "docker://" */
        /* `rest` is the name without the prefix; *name the normalised name, malloc'ed. */
        int (*open)(const char *rest, const struct zp_source_options *options, void **state, char **name,
                    struct zp_error *err);
        void (*close)(void *state);
        int (*has_blob)(void *state, const struct zp_digest *digest, uint64_t size, struct zp_error *err);
        int (*put_blob)(void *state, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                        zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err);
        /* NULL: put_blob, when all is known. */
        int (*put_stream)(void *state, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                          struct zp_error *err);
        int (*get_blob)(void *state, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                        zp_blob_sink sink, void *context, struct zp_error *err);
        int (*publish)(void *state, const struct zp_descriptor *subject, const char *artifact_type,
                       const char *manifest, size_t size, const struct zp_digest *digest, struct zp_error *err);
        int (*find)(void *state, const struct zp_digest *subject, const char *artifact_type,
                    struct zp_remote_artifact **out, size_t *count, struct zp_error *err);
        /* Bytes as they are; *out malloc'ed, NUL-terminated. */
        int (*get_manifest)(void *state, const struct zp_descriptor *manifest, char **out, size_t *size,
                            struct zp_error *err);
        const struct zp_range_kind *range; /* NULL: get_blob reads files */
};

struct zp_remote {
        const struct zp_remote_kind *kind;
        void *state;
        char *name;
};

void zp_range_head_clear(struct zp_range_head *head);

extern const struct zp_remote_kind zp_remote_registry, zp_remote_directory, zp_remote_s3;

#endif
