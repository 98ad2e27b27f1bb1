/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kind of remote has to offer; remote.h says what each function promises. remote.c checks digests of whole
 * blobs and manifests for all kinds.
 */
#ifndef ZP_REMOTE_REMOTE_INTERNAL_H
#define ZP_REMOTE_REMOTE_INTERNAL_H

#include "remote/remote.h"

struct zp_remote_kind {
        const char *prefix; /* "docker://" */
        /* `rest` is the name without the prefix; *name the normalised name, malloc'ed. */
        int (*open)(const char *rest, const struct zp_source_options *options, void **state, char **name,
                    struct zp_error *err);
        void (*close)(void *state);
        int (*has_blob)(void *state, const struct zp_digest *digest, uint64_t size, struct zp_error *err);
        int (*put_blob)(void *state, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                        zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err);
        int (*get_blob)(void *state, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                        zp_blob_sink sink, void *context, struct zp_error *err);
        int (*publish)(void *state, const struct zp_descriptor *subject, const char *artifact_type,
                       const char *manifest, size_t size, const struct zp_digest *digest, struct zp_error *err);
        int (*find)(void *state, const struct zp_digest *subject, const char *artifact_type,
                    struct zp_remote_artifact **out, size_t *count, struct zp_error *err);
        /* Bytes as they are; *out malloc'ed, NUL-terminated. */
        int (*get_manifest)(void *state, const struct zp_descriptor *manifest, char **out, size_t *size,
                            struct zp_error *err);
};

extern const struct zp_remote_kind zp_remote_registry, zp_remote_directory, zp_remote_s3;

#endif
