/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/data/store.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/buffer.h"
#include "erofs/reader.h"
#include "profile/prefetch.h"
#include "snapshot/snapshot.h"
#include "snapshotter/control/config-data.h"
#include "store/store.h"
#include "store/whole-file.h"

/* Others wait meanwhile who may need the database less, and who opens a device tries again. */
#define PATIENCE_MS 1000

struct snap_store {
        char *path;
        const struct snap_config_data *settings;
        pthread_mutex_t lock;
        struct zp_store *store; /* NULL: not opened yet; guarded by lock */
};

int snap_store_new(const char *path, const struct snap_config_data *settings, struct snap_store **out,
                   struct zp_error *err) {
        struct snap_store *store = calloc(1, sizeof *store);
        if (store)
                store->path = strdup(path);
        if (!store || !store->path) {
                free(store);
                return zp_error_errno(err, ENOMEM, "store '%s'", path);
        }
        pthread_mutex_init(&store->lock, NULL);
        store->settings = settings;
        *out = store;
        return 0;
}

void snap_store_free(struct snap_store *store) {
        if (!store)
                return;
        zp_store_close(store->store);
        pthread_mutex_destroy(&store->lock);
        free(store->path);
        free(store);
}

/* Once opened it stays so. */
static int open_store(struct snap_store *store, struct zp_store **out, struct zp_error *err) {
        pthread_mutex_lock(&store->lock);
        int r = 0;
        if (!store->store && (r = zp_store_open(store->path, ZP_STORE_READ, &store->store, err)) == 0)
                zp_store_set_patience(store->store, PATIENCE_MS);
        *out = store->store;
        pthread_mutex_unlock(&store->lock);
        return r;
}

/* Somebody was killed in the middle of a commit since the store was opened: what opens it anew puts that right, and
 * then this connection can read again. Whether to try again. */
static bool is_put_right(struct snap_store *store, int result) {
        zp_auto(zp_store_close) struct zp_store *other = NULL;
        return result == -EROFS && zp_store_open(store->path, ZP_STORE_READ, &other, NULL) == 0;
}

static int try_find_remote(void *context, const struct zp_digest *device, char **remote, struct zp_descriptor *pack,
                           struct zp_error *err) {
        struct zp_store *store;
        struct zp_device_record record;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = open_store(context, &store, err);
        if (r == 0)
                r = zp_store_find_device(store, device, &record, err);
        if (r == 1 && !record.has_pack_digest)
                r = 0;
        if (r == 1)
                r = zp_store_find_device_origin(store, device, remote, err);
        if (r < 0)
                return r;
        if (r == 0)
                return zp_error_set(err, ENOENT, "device %s: no remote is known", zp_digest_text(device, text));
        *pack = (struct zp_descriptor){ .digest = record.pack_digest, .size = record.pack_size };
        return 0;
}

static int find_remote(void *context, const struct zp_digest *device, char **remote, struct zp_descriptor *pack,
                       struct zp_error *err) {
        int r = try_find_remote(context, device, remote, pack, err);
        return is_put_right(context, r) ? try_find_remote(context, device, remote, pack, err) : r;
}

/* The devices of an image as the list of ranges is checked against. */
static int read_devices(struct zp_store *store, const struct zp_digest *image, struct zp_prefetch_device **out,
                        size_t *count, struct zp_error *err) {
        zp_autofree struct zp_device_record *records = NULL;
        int r = zp_store_list_devices_of(store, image, &records, count, err);
        if (r < 0)
                return r;
        *out = calloc(*count + 1, sizeof **out);
        if (!*out || *count > UINT16_MAX)
                return zp_error_errno(err, *out ? E2BIG : ENOMEM, "devices");
        for (size_t i = 0; i < *count; i++)
                (*out)[i] = (struct zp_prefetch_device){ records[i].digest, records[i].device_size };
        return 0;
}

static int find_ranges(void *context, const struct zp_digest *image, snap_data_range range, void *argument,
                       struct zp_error *err) {
        struct zp_store *store;
        zp_autofree char *text = NULL;
        zp_autofree struct zp_prefetch_device *devices = NULL;
        struct zp_prefetch list = { 0 };
        size_t size = 0, count = 0;
        int r = open_store(context, &store, err);
        if (r == 0)
                r = zp_store_read_image_file(store, image, "prefetch.json", ZP_LIMIT_JSON_SIZE, NULL, &text, &size,
                                             err);
        if (r == 0)
                r = read_devices(store, image, &devices, &count, err);
        if (r == 0)
                r = zp_prefetch_parse(text, size, "prefetch.json", devices, (uint16_t) count, &list, err);
        for (uint32_t i = 0; r == 0 && i < list.count; i++)
                range(argument, &list.ranges[i].device, list.ranges[i].offset, list.ranges[i].length);
        zp_prefetch_clear(&list);
        return r;
}

static int list_devices(void *context, const struct zp_digest *image, struct zp_digest **out, size_t *count,
                        struct zp_error *err) {
        struct zp_store *store;
        zp_autofree struct zp_device_record *records = NULL;
        int r = open_store(context, &store, err);
        if (r == 0)
                r = zp_store_list_devices_of(store, image, &records, count, err);
        if (r < 0)
                return r;
        *out = calloc(*count + 1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "devices");
        for (size_t i = 0; i < *count; i++)
                (*out)[i] = records[i].digest;
        return 0;
}

/* ---- what is wanted whole ---- */

static bool is_one_of(const struct zp_digest *digests, size_t count, const struct zp_digest *digest) {
        for (size_t i = 0; i < count; i++)
                if (zp_digest_equal(&digests[i], digest))
                        return true;
        return false;
}

/* The settings name images by "registry/repository". */
static enum snap_completion completion_of(struct snap_store *store, const struct zp_digest *device) {
        static const char scheme[] = "docker://";
        zp_autofree char *origin = NULL;
        if (zp_store_find_device_origin(store->store, device, &origin, NULL) < 0 || !origin)
                return snap_config_completion(store->settings, NULL);
        bool has_scheme = strncmp(origin, scheme, strlen(scheme)) == 0;
        return snap_config_completion(store->settings, origin + (has_scheme ? strlen(scheme) : 0));
}

static int list_wanted(void *context, struct zp_digest **out, size_t *count, struct zp_error *err) {
        struct snap_store *snap = context;
        struct zp_store *store;
        zp_autofree struct zp_digest *mounted = NULL, *wanted = NULL;
        zp_autofree struct zp_device_record *records = NULL;
        size_t mounted_count = 0, record_count = 0;
        *count = 0;
        int r = open_store(snap, &store, err);
        if (r == 0)
                r = zp_store_list_mounted_devices(store, &mounted, &mounted_count, err);
        if (r == 0)
                r = zp_store_list_devices(store, &records, &record_count, err);
        if (r < 0)
                return r;
        wanted = calloc(record_count + 1, sizeof *wanted);
        if (!wanted)
                return zp_error_errno(err, ENOMEM, "devices");
        for (int turn = 0; turn < 2; turn++) /* those in use first */
                for (size_t i = 0; i < record_count; i++) {
                        bool is_mounted = is_one_of(mounted, mounted_count, &records[i].digest);
                        enum snap_completion completion = completion_of(snap, &records[i].digest);
                        if (is_mounted == (turn == 0) && completion != SNAP_COMPLETE_NEVER &&
                            (is_mounted || completion == SNAP_COMPLETE_ALWAYS))
                                wanted[(*count)++] = records[i].digest;
                }
        *out = zp_steal(&wanted);
        return 0;
}

/* ---- disks ---- */

/* The image's own metadata: its device table knows its place on the disk. */
static int take_stored(struct zp_store *store, const struct zp_digest *image, struct snap_disk_parts *out,
                       struct zp_error *err) {
        out->metadata_fd = zp_store_open_image_file(store, image, "snapshot.erofs", err);
        if (out->metadata_fd < 0)
                return out->metadata_fd;
        off_t end = lseek(out->metadata_fd, 0, SEEK_END);
        void *data = end > 0 ? mmap(NULL, (size_t) end, PROT_READ, MAP_PRIVATE, out->metadata_fd, 0) : MAP_FAILED;
        if (data == MAP_FAILED)
                return zp_error_errno(err, end > 0 ? errno : EBADMSG, "snapshot.erofs");
        int r = zp_erofs_read_devices(data, (size_t) end, &out->devices, &out->device_count, err);
        munmap(data, (size_t) end);
        out->metadata_size = (uint64_t) end;
        return r;
}

/* Written anew, with absolute addresses, to a file without a name: it takes milliseconds, and gives the same each time.
 */
static int write_flat(struct zp_store *store, const struct zp_image_record *image, struct snap_disk_parts *out,
                      struct zp_error *err) {
        struct zp_snapshot_layers layers = { store, image->layers, image->diff_ids, image->layer_count, NULL };
        struct zp_erofs_result written;
        zp_autofree char *directory = zp_format("%s/tmp", zp_store_path(store));
        out->metadata_fd = directory ? open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600) : -1;
        if (out->metadata_fd < 0)
                return zp_error_errno(err, directory ? errno : ENOMEM, "metadata of a disk");
        int r = zp_snapshot_write(&layers, ZP_EROFS_FLAT, out->metadata_fd, "metadata of a disk", &out->devices,
                                  &out->device_count, &written, err);
        out->metadata_size = r == 0 ? written.blocks * ZP_BLOCK_SIZE : 0;
        return r;
}

static int find_disk(void *context, const struct zp_digest *digest, bool is_compat, struct snap_disk_parts *out,
                     struct zp_error *err) {
        struct zp_store *store;
        struct zp_image_record image = { 0 };
        int r = open_store(context, &store, err);
        if (r == 0)
                r = zp_store_find_image(store, digest, &image, err);
        if (r <= 0)
                return r < 0 ? r : -ENOENT;
        r = is_compat ? write_flat(store, &image, out, err) : take_stored(store, digest, out, err);
        zp_image_record_clear(&image);
        return r;
}

/* Whether the settings want any device whole: else nobody needs to look. */
static bool wants_any(const struct snap_config_data *settings) {
        bool wants = settings && settings->completion != SNAP_COMPLETE_NEVER;
        for (size_t i = 0; settings && i < settings->rule_count; i++)
                wants |= settings->rules[i].completion != SNAP_COMPLETE_NEVER;
        return wants;
}

struct snap_data_lookups snap_store_lookups(struct snap_store *store) {
        return (struct snap_data_lookups){ .find_remote = find_remote,
                                           .find_ranges = find_ranges,
                                           .list_devices = list_devices,
                                           .find_disk = find_disk,
                                           .list_wanted = wants_any(store->settings) ? list_wanted : NULL,
                                           .context = store };
}

bool snap_store_is_in_use(void *context, const char *hex) {
        struct zp_store *store;
        struct zp_digest device;
        if (!zp_digest_parse_hex(hex, &device) || open_store(context, &store, NULL) < 0)
                return true;
        return zp_store_device_is_mounted(store, &device, NULL) != 0;
}
