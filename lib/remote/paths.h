/* SPDX-License-Identifier: Apache-2.0
 *
 * How a directory and a bucket are laid out; the same, so that copying one to the other keeps it readable:
 *
 *     blobs/sha256/HEX                               any blob and manifest, as in an OCI image layout
 *     referrers/SUBJECT-HEX/TYPE/SUBTYPE/HEX         a copy of an artifact's manifest; its presence publishes the
 * artifact
 *
 * SUBJECT-HEX is the digest of the image manifest, TYPE/SUBTYPE the artifact's type. So one listing of one folder tells
 * all about the artifacts of one type, and nobody has to update what others write.
 */
#ifndef ZP_REMOTE_PATHS_H
#define ZP_REMOTE_PATHS_H

#include "remote/remote-internal.h"

#define ZP_REMOTE_BLOB_PATH_SIZE 80
/* Artifacts of one type about one image. Each is another version or maker's; a registry's page holds fewer. */
#define ZP_REMOTE_ARTIFACTS_MAX 1000

/* "blobs/sha256/HEX"; returns `path`. */
char *zp_remote_blob_path(const struct zp_digest *digest, char path[ZP_REMOTE_BLOB_PATH_SIZE]);
/* "referrers/SUBJECT-HEX/TYPE/SUBTYPE", malloc'ed. -EINVAL when the type is no media type (RFC 6838). */
int zp_remote_referrers_path(const struct zp_digest *subject, const char *artifact_type, char **out,
                             struct zp_error *err);

/* What a listing has shown. A zeroed one is ready. */
struct zp_remote_entries {
        struct zp_remote_entry {
                struct zp_digest digest;
                uint64_t size;
                int64_t time_ms; /* when it was published */
        } * entries;
        size_t count;
};
/* Adds what stands under `name`; a name that is not 64 hex digits is somebody else's and ignored. */
int zp_remote_entries_add(struct zp_remote_entries *list, const char *name, uint64_t size, int64_t time_ms,
                          struct zp_error *err);
void zp_remote_entries_clear(struct zp_remote_entries *list);
/* Sorts them, oldest first, into what zp_remote_find gives. */
int zp_remote_entries_artifacts(struct zp_remote_entries *list, const char *artifact_type,
                                struct zp_remote_artifact **out, size_t *count, struct zp_error *err);

#endif
