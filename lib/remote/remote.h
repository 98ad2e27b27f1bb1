/* SPDX-License-Identifier: Apache-2.0
 *
 * Where snapshots are kept for others: a repository of a registry (`docker://HOST/REPOSITORY`), a directory on a disk
 * or a shared file system (`dir:PATH`), S3-compatible object storage (`s3://BUCKET[/PREFIX]`). One table row and one
 * file, KIND.c, each.
 *
 * A remote holds blobs, named by their digest, and artifact manifests, found by the image manifest that they are
 * about (their subject; OCI image-spec and distribution-spec 1.1). A manifest appears only after its blobs, in one
 * step.
 */
#ifndef ZP_REMOTE_REMOTE_H
#define ZP_REMOTE_REMOTE_H

#include "base/cleanup.h"
#include "oci/manifest.h"
#include "oci/source.h"

struct zp_remote;

/* Whether a name begins as one of the kinds of remotes there are. -EINVAL: it does not. Thread-safe. */
int zp_remote_check_kind(const char *name, struct zp_error *err);

/* Parses the name; talks to no network yet. `options` as for image sources (credentials, TLS, cancel); copied. For
 * s3: the endpoint and credentials come from AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
 * AWS_SESSION_TOKEN. -EINVAL: the name is malformed. Thread-safe from here on. */
int zp_remote_open(const char *name, const struct zp_source_options *options, struct zp_remote **out,
                   struct zp_error *err);
void zp_remote_close(struct zp_remote *remote);
ZP_DEFINE_AUTO(struct zp_remote, zp_remote_close);
/* Its normalised name, "docker://localhost:5000/acme/web". */
const char *zp_remote_name(const struct zp_remote *remote);

/* 1: the remote has the blob, 0: it has not, negative: error. */
int zp_remote_has_blob(struct zp_remote *remote, const struct zp_digest *digest, uint64_t size, struct zp_error *err);

/* Gives `size` bytes of the blob that is being put, from `offset` on. Called again for the same bytes when a transfer
 * broke. 0 or a negative errno. */
typedef int (*zp_remote_read)(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err);

/* Stores a blob that the remote does not have (ask first). In a registry a mount from `mount_from` (another
 * repository of the same registry; NULL: none) is tried before any byte is sent; an upload that breaks is resumed.
 * The remote checks the digest, or this does. *uploaded_bytes (may be NULL) counts what went over the wire. */
int zp_remote_put_blob(struct zp_remote *remote, const struct zp_digest *digest, uint64_t size, const char *mount_from,
                       zp_remote_read read, void *context, uint64_t *uploaded_bytes, struct zp_error *err);

/* A blob that somebody is still making: bytes are only ever added to it. */
struct zp_remote_growing {
        /* Waits until there are more than `known` bytes of the blob, or it is complete. 1: it is, and has *available
         * bytes and this digest; 0: it has *available, so far; negative: it will never be, which ends the upload. */
        int (*wait)(void *context, uint64_t known, uint64_t *available, struct zp_digest *digest, struct zp_error *err);
        zp_remote_read read; /* below what is available; again for the same when a transfer broke */
        void *context;
};

/* Stores such a blob while it is being made; returns when it is stored whole, under its digest. A registry gets chunks
 * as they come, and a broken upload goes on from where the registry says; a directory gets them in tmp/. Object storage
 * wants to know an object's name before its first byte, and copies a large one only piece by piece: it gets the blob
 * when it is complete. */
int zp_remote_put_stream(struct zp_remote *remote, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                         struct zp_error *err);

/* Streams `length` bytes of a blob from `offset` on to `sink`, resuming a broken transfer with backoff a bounded
 * number of times. The bytes are NOT checked: whoever reads parts has digests of the parts (pack/index.h), whoever
 * reads a whole blob calls zp_remote_get_whole. -ENOENT: no such blob. */
int zp_remote_get_blob(struct zp_remote *remote, const struct zp_descriptor *blob, uint64_t offset, uint64_t length,
                       zp_blob_sink sink, void *context, struct zp_error *err);
/* A whole blob, size and SHA-256 checked: nothing may be kept before it returns 0. */
int zp_remote_get_whole(struct zp_remote *remote, const struct zp_descriptor *blob, zp_blob_sink sink, void *context,
                        struct zp_error *err);

/* Publishes an artifact manifest whose "subject" is `subject` (a manifest that need not be in the remote). Where a
 * registry has no referrers API the fallback tag `sha256-<hex>` gets the entry, without losing those that others
 * add at the same time. Publishing the same bytes again changes nothing. */
int zp_remote_publish(struct zp_remote *remote, const struct zp_descriptor *subject, const char *artifact_type,
                      const char *manifest, size_t size, struct zp_error *err);

struct zp_remote_artifact {
        struct zp_descriptor manifest;
        char *artifact_type;
        /* The manifest's annotations, if the remote tells them with it (nothing is checked), else NULL. */
        struct json_t *annotations;
        /* The manifest itself, checked, if the remote tells it with it, else NULL. */
        char *body;
};
void zp_remote_artifacts_free(struct zp_remote_artifact *artifacts, size_t count);
/* The artifacts of one type about `subject`, oldest first where the remote keeps an order. One request where the
 * remote has the referrers API or a directory; two at most otherwise. *out malloc'ed; none is no error. */
int zp_remote_find(struct zp_remote *remote, const struct zp_digest *subject, const char *artifact_type,
                   struct zp_remote_artifact **out, size_t *count, struct zp_error *err);
/* An artifact's manifest, digest and size checked; *out malloc'ed and NUL-terminated. */
int zp_remote_get_manifest(struct zp_remote *remote, const struct zp_descriptor *manifest, char **out,
                           struct zp_error *err);

#endif
