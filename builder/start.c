/* SPDX-License-Identifier: Apache-2.0 */
#include "builder/start.h"

#include <stdlib.h>

#include "base/limits.h"
#include "builder/file-reader.h"
#include "builder/guess/guess.h"
#include "pack/writer.h"
#include "snapshot/load.h"
#include "store/whole-file.h"

static int write_list(struct zp_staging *staging, const struct zp_prefetch *list, struct zp_error *err) {
        zp_autobuffer struct zp_buffer text = { 0 };
        int r = zp_prefetch_format(list, &text, err);
        return r == 0 ? zp_staging_write(staging, "prefetch.json", text.data ? text.data : "", text.size, err) : r;
}

/* Of a device that is not here, nobody knows: most have the default. */
static int find_frame_size(struct zp_store *store, const struct zp_digest *device, uint32_t *out,
                           struct zp_error *err) {
        struct zp_device_record record;
        int r = zp_store_find_device(store, device, &record, err);
        *out = r > 0 && record.frame_size >= ZP_BLOCK_SIZE ? record.frame_size : ZP_PACK_DEFAULT_FRAME_SIZE;
        return r < 0 ? r : 0;
}

/* `by_frames` NULL: the list need not know them. */
static int map_profile(const struct zp_loaded *l, const struct zp_profile *profile, struct zp_store *by_frames,
                       struct zp_prefetch *out, struct zp_error *err) {
        int r = 0;
        zp_autofree struct zp_prefetch_device *table = calloc((size_t) l->device_count + 1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "prefetch list");
        for (uint16_t i = 0; i < l->device_count && r == 0; i++) {
                table[i] = (struct zp_prefetch_device){ l->devices[i].digest, l->devices[i].blocks * ZP_BLOCK_SIZE };
                if (by_frames)
                        r = find_frame_size(by_frames, &table[i].digest, &table[i].frame_size, err);
        }
        return r == 0 ? zp_prefetch_map(profile, l->tree, table, l->device_count, out, err) : r;
}

static int write_profile(struct zp_staging *staging, const struct zp_profile *profile, struct zp_error *err) {
        zp_autobuffer struct zp_buffer text = { 0 };
        int r = zp_profile_format(profile, &text, err);
        return r == 0 ? zp_staging_write(staging, "profile", text.data ? text.data : "", text.size, err) : r;
}

int zp_start_write(struct zp_staging *staging, int fd, uint64_t size, const struct zp_profile *profile,
                   struct zp_error *err) {
        zp_autoloaded struct zp_loaded snapshot = { 0 };
        struct zp_prefetch list = { 0 };
        int r = zp_snapshot_load_new(fd, size, &snapshot, err);
        if (r == 0)
                r = map_profile(&snapshot, profile, NULL, &list, err);
        if (r == 0)
                r = write_list(staging, &list, err);
        zp_prefetch_clear(&list);
        return r == 0 ? write_profile(staging, profile, err) : r;
}

struct guessing {
        struct zp_store *store;
        const char *config;
        size_t config_size;
        const struct zp_cancel *cancel;
};

/* What is guessed does not lie together, and some of it is not read: the order in which it is fetched counts. */
static int guess_list(const struct guessing *guessing, const struct zp_loaded *l, struct zp_prefetch *out,
                      struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        zp_auto(zp_file_reader_free) struct zp_file_reader *reader = NULL;
        int r = zp_file_reader_new(guessing->store, l->devices, l->device_count, &reader, err);
        const struct zp_guess_image image = { l->tree, zp_file_reader_read, reader, guessing->cancel };
        if (r == 0)
                r = zp_guess(&image, guessing->config, guessing->config_size, &profile, err);
        if (r == 0)
                r = map_profile(l, profile, guessing->store, out, err);
        out->is_guess = true;
        return r;
}

/* An image that can be built is not refused because a guess about it would take too much. */
static int load_and_guess(const struct guessing *guessing, int fd, uint64_t size, struct zp_prefetch *out,
                          struct zp_error *err) {
        zp_autoloaded struct zp_loaded snapshot = { 0 };
        int r = zp_snapshot_load_new(fd, size, &snapshot, err);
        if (r == 0)
                r = guess_list(guessing, &snapshot, out, err);
        if (r != -E2BIG && r != -ENOMEM)
                return r;
        if (err)
                zp_error_clear(err);
        return 0;
}

int zp_start_write_guess(struct zp_staging *staging, struct zp_store *store, int fd, uint64_t size, const char *config,
                         size_t config_size, const struct zp_cancel *cancel, struct zp_error *err) {
        const struct guessing guessing = { store, config, config_size, cancel };
        struct zp_prefetch list = { 0 };
        int r = load_and_guess(&guessing, fd, size, &list, err);
        if (r == 0 && list.count > 0)
                r = write_list(staging, &list, err);
        zp_prefetch_clear(&list);
        return r;
}

/* 1: *out is the file's content, malloc'ed; 0: the image has no such file. */
static int read_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file, uint64_t max,
                     char **out, size_t *size, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(store, manifest_digest, file, NULL);
        if (fd < 0)
                return 0;
        int r = zp_store_read_whole(fd, file, max, NULL, out, size, err);
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
