/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/start.h"

#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/limits.h"
#include "erofs/reader.h"

static int map_profile(const char *bytes, uint64_t size, const struct zp_profile *profile, struct zp_prefetch *out,
                       struct zp_error *err) {
        zp_auto(zp_tree_free) struct zp_tree *tree = NULL;
        zp_autofree struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        int r = zp_erofs_load(bytes, (size_t) size, &tree, &devices, &count, err);
        if (r < 0)
                return r;
        zp_autofree struct zp_prefetch_device *table = calloc((size_t) count + 1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        for (uint16_t i = 0; i < count; i++)
                table[i] = (struct zp_prefetch_device){ devices[i].digest, devices[i].blocks * ZP_BLOCK_SIZE };
        return zp_prefetch_map(profile, tree, table, count, out, err);
}

int zp_start_write(struct zp_staging *staging, int fd, uint64_t size, const struct zp_profile *profile,
                   struct zp_error *err) {
        zp_autofree char *bytes = malloc((size_t) size + 1);
        zp_autobuffer struct zp_buffer list_text = { 0 }, profile_text = { 0 };
        struct zp_prefetch list = { 0 };
        if (!bytes)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        int r = zp_pread_all(fd, bytes, (size_t) size, 0, "snapshot.erofs", err);
        if (r == 0)
                r = map_profile(bytes, size, profile, &list, err);
        if (r == 0)
                r = zp_prefetch_format(&list, &list_text, err);
        zp_prefetch_clear(&list);
        if (r == 0)
                r = zp_profile_format(profile, &profile_text, err);
        if (r == 0)
                r = zp_staging_write(staging, "prefetch.json", list_text.data ? list_text.data : "", list_text.size,
                                     err);
        return r == 0 ? zp_staging_write(staging, "profile", profile_text.data ? profile_text.data : "",
                                         profile_text.size, err)
                      : r;
}

/* 1: *out is the file's content, malloc'ed; 0: the image has no such file. */
static int read_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file, uint64_t max,
                     char **out, size_t *size, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, manifest_digest, file, NULL);
        struct stat st;
        if (fd < 0)
                return 0;
        if (fstat(fd, &st) < 0 || (uint64_t) st.st_size > max)
                return zp_error_set(err, EBADMSG, "%s: too large", file);
        *size = (size_t) st.st_size;
        *out = malloc(*size + 1);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "%s", file);
        int r = zp_pread_all(fd, *out, *size, 0, file, err);
        return r < 0 ? r : 1;
}

int zp_start_read_profile(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_profile **out,
                          struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        zp_autofree char *text = NULL;
        size_t size = 0;
        *out = NULL;
        if (!profile)
                return zp_error_errno(err, ENOMEM, "profile");
        int r = read_file(store, manifest_digest, "profile", ZP_LIMIT_PROFILE_SIZE, &text, &size, err);
        if (r <= 0)
                return r;
        r = zp_profile_parse(profile, text, size, "profile", err);
        if (r == 0)
                *out = zp_steal(&profile);
        return r;
}

int zp_start_read_list(struct zp_store *store, const struct zp_digest *manifest_digest,
                       const struct zp_prefetch_device *devices, uint16_t device_count, struct zp_prefetch *out,
                       struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = read_file(store, manifest_digest, "prefetch.json", ZP_LIMIT_JSON_SIZE, &text, &size, err);
        if (r == 1)
                r = zp_prefetch_parse(text, size, "prefetch.json", devices, device_count, out, err) < 0 ? -EBADMSG : 1;
        return r;
}
