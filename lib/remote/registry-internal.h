/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of `docker://` share.
 */
#ifndef ZP_REMOTE_REGISTRY_INTERNAL_H
#define ZP_REMOTE_REGISTRY_INTERNAL_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#include "oci/http.h"
#include "oci/registry.h"
#include "remote/remote-internal.h"

#define ZP_OCI_INDEX_TYPE "application/vnd.oci.image.index.v1+json"

struct zp_registry_remote {
        struct zp_registry *registry;
        struct zp_endpoint **mirrors; /* those that may be asked for blobs, in order */
        unsigned mirror_count;
        char *name; /* "docker://host/repository", by which it is learned about, too */
        atomic_bool has_no_referrers_api;
        struct zp_learned *learned; /* see struct zp_source_options */
        pthread_mutex_t lock;
        char *not_mountable; /* guarded by lock: the repository from which we may not mount; NULL: none known */
};

/* As zp_remote_has_blob. */
int zp_registry_has_blob(struct zp_registry *registry, const struct zp_digest *digest, uint64_t size,
                         struct zp_error *err);

/* upload.c: as zp_remote_put_blob. */
int zp_upload_blob(struct zp_registry_remote *remote, const struct zp_digest *digest, uint64_t size,
                   const char *mount_from, zp_remote_read read, void *context, uint64_t *uploaded_bytes,
                   struct zp_error *err);
/* upload.c: as zp_remote_put_stream. */
int zp_upload_stream(struct zp_registry_remote *remote, const struct zp_remote_growing *blob, uint64_t *uploaded_bytes,
                     struct zp_error *err);
/* Reads the Range header of an upload, "0-1023", into how many bytes it means. "0-0" is none: it is what registries
 * say before the first byte, and nobody sends one alone. False: malformed. */
bool zp_upload_parse_range(const char *text, uint64_t *received);

/* Where an upload goes on: zp_url_resolve, but a registry behind a proxy that ends TLS may not know that it is https.
 */
int zp_upload_resolve(const char *base, const char *location, char **out, struct zp_error *err);

/* Sends a manifest under a name (digest or tag); `response` as from zp_transfer_request. */
int zp_registry_put_manifest(struct zp_registry *registry, const char *name, const char *media_type, const char *body,
                             size_t size, const char *if_match, struct zp_http_response *response,
                             struct zp_error *err);

/* fallback-tag.c: where a registry has no referrers API. Reads the index behind `sha256-HEX`: *index is NULL when there
 * is none, *etag when none is offered; the caller's both. -EEXIST: the tag names something else. */
int zp_fallback_read(struct zp_registry_remote *remote, const struct zp_digest *subject, bool is_for_push,
                     json_t **index, char **etag, struct zp_error *err);
/* Adds a descriptor (borrowed) to it. */
int zp_fallback_add(struct zp_registry_remote *remote, const struct zp_digest *subject, json_t *entry,
                    struct zp_error *err);

/* publish-lock.c: keeps publishers on one machine from stepping on each other's toes, as far as that is possible.
 * *fd is -1 when somebody holds the lock for very long, or there is none to be had: go on without. -ECANCELED. */
int zp_publish_lock(const char *remote, const struct zp_digest *subject, const struct zp_cancel *cancel, int *fd,
                    struct zp_error *err);

#endif
