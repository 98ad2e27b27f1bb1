/* SPDX-License-Identifier: Apache-2.0 */
#include "remote/paths.h"

#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

#define MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

char *zp_remote_blob_path(const struct zp_digest *digest, char path[ZP_REMOTE_BLOB_PATH_SIZE]) {
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(path, ZP_REMOTE_BLOB_PATH_SIZE, "blobs/sha256/%s", zp_digest_hex(digest, hex));
        return path;
}

/* One half of a media type: RFC 6838, 4.2. It starts with a letter or digit, so it is no ".." either. */
static size_t restricted_name(const char *text) {
        static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        size_t size = strspn(text, first);
        if (size > 0)
                size = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$&-^_.+");
        return size > 127 ? 0 : size;
}

int zp_remote_referrers_path(const struct zp_digest *subject, const char *artifact_type, char **out,
                             struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        size_t type = restricted_name(artifact_type), subtype = 0;
        if (type > 0 && artifact_type[type] == '/')
                subtype = restricted_name(artifact_type + type + 1);
        if (subtype == 0 || artifact_type[type + 1 + subtype])
                return zp_error_set(err, EINVAL, "'%.200s' is not a media type", artifact_type);
        *out = zp_format("referrers/%s/%s", zp_digest_hex(subject, hex), artifact_type);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "artifacts");
}

int zp_remote_entries_add(struct zp_remote_entries *list, const char *name, uint64_t size, int64_t time_ms,
                          struct zp_error *err) {
        struct zp_remote_entry entry = { .size = size, .time_ms = time_ms };
        if (!zp_digest_parse_hex(name, &entry.digest))
                return 0;
        if (list->count == ZP_REMOTE_ARTIFACTS_MAX)
                return zp_error_set(err, EFBIG, "more than %d artifacts of one type", ZP_REMOTE_ARTIFACTS_MAX);
        if (list->count % 16 == 0) {
                void *grown = realloc(list->entries, (list->count + 16) * sizeof entry);
                if (!grown)
                        return zp_error_errno(err, ENOMEM, "artifacts");
                list->entries = grown;
        }
        list->entries[list->count++] = entry;
        return 0;
}

void zp_remote_entries_clear(struct zp_remote_entries *list) {
        free(list->entries);
        *list = (struct zp_remote_entries){ 0 };
}

static int compare(const void *left, const void *right) {
        const struct zp_remote_entry *a = left, *b = right;
        if (a->time_ms != b->time_ms)
                return a->time_ms < b->time_ms ? -1 : 1;
        return memcmp(a->digest.bytes, b->digest.bytes, sizeof a->digest.bytes);
}

int zp_remote_entries_artifacts(struct zp_remote_entries *list, const char *artifact_type,
                                struct zp_remote_artifact **out, size_t *count, struct zp_error *err) {
        *out = NULL;
        *count = 0;
        if (list->count == 0)
                return 0;
        struct zp_remote_artifact *artifacts = calloc(list->count, sizeof *artifacts);
        if (!artifacts)
                return zp_error_errno(err, ENOMEM, "artifacts");
        qsort(list->entries, list->count, sizeof *list->entries, compare);
        bool complete = true;
        for (size_t i = 0; i < list->count; i++) {
                artifacts[i].manifest.digest = list->entries[i].digest;
                artifacts[i].manifest.size = list->entries[i].size;
                artifacts[i].manifest.media_type = strdup(MANIFEST_TYPE);
                artifacts[i].artifact_type = strdup(artifact_type);
                complete = complete && artifacts[i].manifest.media_type && artifacts[i].artifact_type;
        }
        if (!complete) {
                zp_remote_artifacts_free(artifacts, list->count);
                return zp_error_errno(err, ENOMEM, "artifacts");
        }
        *out = artifacts;
        *count = list->count;
        return 0;
}
