/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/node-status.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/database.h"
#include "base/file.h"
#include "cli/output.h"
#include "device/record.h"
#include "mount/table.h"
#include "oci/chain-id.h"
#include "oci/json.h"
#include "snapshotter/control/accelerate.h"
#include "snapshotter/control/metastore.h"
#include "snapshotter/control/statistics.h"
#include "store/store.h"

#define ANSWER_MS 2000
#define IMAGES_MAX 1000
#define LOCKS_MAX ((size_t) 4 << 20)
#define PAGE 100

/* An image that was asked for and is in the store: all its layers make the chain. */
struct known_image {
        const char *reference;
        struct zp_digest manifest_digest, chain_id;
};

struct status {
        const char *root;
        const char *store_path;
        struct snap_metastore *metastore;
        struct zp_store *store; /* NULL: there is none */
        struct zp_mount_table *mounts;
        int copies_fd;             /* -1: none */
        struct known_image *known; /* the last asked for first; the arena's */
        size_t known_count;
        struct zp_arena arena;
};

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "status");
}

static json_t *text_json(const char *text) {
        return text ? cli_json_text(text, strlen(text)) : json_null();
}

/* ---- the daemon ---- */

/* Who holds ROOT/lock; 0: nobody. Asking the kernel's list disturbs no daemon that is just starting. */
static long lock_holder(const char *root) {
        zp_autofree char *path = zp_format("%s/lock", root), *text = NULL;
        struct stat st;
        size_t size;
        if (!path || stat(path, &st) < 0 || zp_read_file(AT_FDCWD, "/proc/locks", LOCKS_MAX, &text, &size, NULL) < 0)
                return 0;
        zp_autofree char *file =
                zp_format("%02x:%02x:%" PRIu64, major(st.st_dev), minor(st.st_dev), (uint64_t) st.st_ino);
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); file && line; line = strtok_r(NULL, "\n", &rest)) {
                char kind[16], place[64];
                long pid;
                if (sscanf(line, "%*s %15s %*s %*s %ld %63s", kind, &pid, place) == 3 && strcmp(kind, "FLOCK") == 0 &&
                    strcmp(place, file) == 0)
                        return pid;
        }
        return 0;
}

static json_t *data_plane_json(const struct status *s) {
        struct snap_statistics_asker asker = { 0 };
        struct snap_statistics statistics;
        struct zp_error err = { 0 };
        zp_autofree char *devices = zp_format("%s/devices", s->root);
        if (!devices || snap_statistics_ask(&asker, devices, ANSWER_MS, &statistics, &err) < 0)
                return json_pack("{s:b, s:o}", "answers", 0, "reason", text_json(err.message));
        json_t *counters = json_object();
        for (size_t i = 0; i < statistics.count; i++)
                json_object_set_new(counters, statistics.items[i].name,
                                    json_integer((json_int_t) statistics.items[i].value));
        return json_pack("{s:b, s:o}", "answers", 1, "statistics", counters);
}

static json_t *daemon_json(const struct status *s) {
        struct utsname name;
        zp_autofree char *journal = zp_format("%s/requests", s->root);
        long pid = lock_holder(s->root);
        uname(&name);
        json_t *out = json_pack("{s:b, s:s, s:b}", "running", pid != 0, "kernel", name.release, "kernelResends",
                                journal && access(journal, F_OK) < 0);
        if (pid)
                cli_json_set(out, "pid", json_integer(pid));
        if (pid)
                cli_json_set(out, "dataPlane", data_plane_json(s));
        return out;
}

/* ---- images ---- */

/* How much of a device is on this node's disk, unpacked. */
static uint64_t present_bytes(const struct status *s, const struct zp_device_record *device) {
        uint32_t good, frames;
        if (device->is_complete)
                return device->device_size;
        zp_autoclose int fd = zp_store_open_unpacked(s->store, &device->digest, NULL);
        if (fd >= 0)
                return device->device_size;
        if (s->copies_fd < 0 ||
            zp_record_look(s->copies_fd, &device->digest, device->device_size, &good, &frames, NULL) < 0 || frames == 0)
                return 0;
        uint64_t bytes = (uint64_t) good * device->frame_size;
        return bytes < device->device_size ? bytes : device->device_size;
}

static void note_known(struct status *s, const struct snap_outcome *outcome, const struct zp_image_record *record) {
        struct zp_digest chain_ids[ZP_LIMIT_LAYERS]; /* no record has more */
        if (outcome->reason || record->layer_count == 0)
                return;
        zp_chain_ids(record->diff_ids, record->layer_count, chain_ids);
        s->known[s->known_count++] = (struct known_image){ .reference = outcome->reference,
                                                           .manifest_digest = outcome->manifest_digest,
                                                           .chain_id = chain_ids[record->layer_count - 1] };
}

static int add_sizes(struct status *s, const struct snap_outcome *outcome, json_t *image, struct zp_error *err) {
        const struct zp_digest *manifest = &outcome->manifest_digest;
        zp_autofree struct zp_device_record *devices = NULL;
        struct zp_image_record record = { 0 };
        size_t count = 0;
        uint64_t present = 0, total = 0;
        int r = s->store ? zp_store_find_image(s->store, manifest, &record, err) : 0;
        if (r == 1)
                note_known(s, outcome, &record);
        zp_image_record_clear(&record);
        cli_json_set(image, "inStore", json_boolean(r == 1));
        if (r == 1)
                r = zp_store_list_devices_of(s->store, manifest, &devices, &count, err);
        for (size_t i = 0; i < count; i++) {
                total += devices[i].device_size;
                present += present_bytes(s, &devices[i]);
        }
        if (devices) {
                cli_json_set(image, "devices", json_integer((json_int_t) count));
                cli_json_set(image, "presentBytes", json_integer((json_int_t) present));
                cli_json_set(image, "totalBytes", json_integer((json_int_t) total));
        }
        return r < 0 ? r : 0;
}

static int add_images(struct status *s, json_t *out, struct zp_error *err) {
        json_t *list = json_array();
        json_object_set_new(out, "images", list);
        struct snap_outcome *outcomes = zp_arena_alloc(&s->arena, IMAGES_MAX * sizeof *outcomes);
        s->known = zp_arena_alloc(&s->arena, IMAGES_MAX * sizeof *s->known);
        if (!outcomes || !s->known)
                return no_memory(err);
        int count = snap_metastore_list_outcomes(s->metastore, &s->arena, IMAGES_MAX, outcomes, err);
        for (int i = 0; i < count; i++) {
                const struct snap_outcome *outcome = &outcomes[i];
                char asked[CLI_TIME_TEXT];
                json_t *image = json_object();
                if (json_array_append_new(list, image) < 0)
                        return no_memory(err);
                cli_json_set(image, "image", text_json(outcome->reference));
                cli_json_set(image, "digest", cli_json_digest(&outcome->manifest_digest));
                cli_json_set(image, "accelerated", json_boolean(!outcome->reason));
                cli_json_set(image, "reason", text_json(outcome->reason));
                cli_json_set(image, "asked", json_string(cli_time_text(outcome->updated_ns / 1000000000, asked)));
                int r = add_sizes(s, outcome, image, err);
                if (r < 0)
                        return r;
        }
        return count < 0 ? count : 0;
}

/* ---- containers ---- */

/* A base of all of an image's layers is that image's. One of fewer is known by the image that was asked for last and
 * has them; whose layers are no more than these, that is whose container it is. */
static void add_base(const struct status *s, const struct snap_base *base, json_t *out) {
        zp_autofree char *point = zp_format("%s/mounts/%" PRIu64, s->root, base->id);
        const struct zp_mount *mount = point ? zp_mount_table_find(s->mounts, point) : NULL;
        const struct known_image own = { base->reference, base->manifest_digest, base->chain_id };
        const struct known_image *image = base->layers == base->of ? &own : NULL;
        for (size_t i = 0; i < s->known_count && !image; i++)
                if (zp_digest_equal(&s->known[i].chain_id, &base->chain_id))
                        image = &s->known[i];
        cli_json_set(out, "image", image ? text_json(image->reference) : json_null());
        cli_json_set(out, "digest", image ? cli_json_digest(&image->manifest_digest) : json_null());
        cli_json_set(out, "layers", json_integer(base->layers));
        cli_json_set(out, "ofLayers", json_integer(image ? base->layers : base->of));
        if (!image)
                cli_json_set(out, "firstLayersOf", text_json(base->reference));
        cli_json_set(out, "mount", mount ? text_json(point) : json_null());
}

static int add_container(struct status *s, const struct snap_info *info, json_t *list, struct zp_error *err) {
        struct zp_arena arena = { 0 };
        struct snap_base base;
        struct snap_explained explained = { 0 };
        json_t *out = json_object();
        if (json_array_append_new(list, out) < 0)
                return no_memory(err);
        int r = snap_metastore_get_base(s->metastore, &arena, info->name, &base, err);
        if (r == 0)
                r = snap_metastore_explain(s->metastore, &arena, info->name, &base, &explained, err);
        cli_json_set(out, "key", text_json(info->name));
        cli_json_set(out, "kind", json_string(info->kind == SNAP_VIEW ? "view" : "active"));
        cli_json_set(out, "accelerated", json_boolean(r == 0 && !explained.reason));
        if (r == 0 && !explained.reason) {
                add_base(s, &base, out);
        } else if (r == 0) {
                cli_json_set(out, "image", text_json(explained.image));
                cli_json_set(out, "reason", text_json(explained.reason));
                if (base.id)
                        cli_json_set(out, "layers", json_integer(base.layers));
        }
        zp_arena_clear(&arena);
        return r;
}

static int add_containers(struct status *s, json_t *out, struct zp_error *err) {
        json_t *list = json_array();
        uint64_t after = 0;
        int count = PAGE, r = 0;
        json_object_set_new(out, "containers", list);
        while (count == PAGE && r == 0) {
                struct zp_arena arena = { 0 };
                struct snap_info infos[PAGE];
                r = count = snap_metastore_list(s->metastore, &arena, after, PAGE, infos, err);
                for (int i = 0; i < count && r >= 0; i++) {
                        after = infos[i].id;
                        if (infos[i].kind != SNAP_COMMITTED)
                                r = add_container(s, &infos[i], list, err);
                }
                zp_arena_clear(&arena);
                r = r < 0 ? r : 0;
        }
        return r;
}

/* ---- all of it ---- */

static int add_counts(const struct status *s, json_t *out, struct zp_error *err) {
        struct snap_counts counts;
        struct snap_cache_use use;
        int r = snap_metastore_count(s->metastore, &counts, err);
        if (r == 0)
                r = snap_cache_use(s->store_path, &use, err);
        if (r < 0)
                return r;
        cli_json_set(out, "snapshots",
                     json_pack("{s:I, s:I, s:I, s:I}", "active", (json_int_t) counts.snapshots[SNAP_ACTIVE], "view",
                               (json_int_t) counts.snapshots[SNAP_VIEW], "committed",
                               (json_int_t) counts.snapshots[SNAP_COMMITTED], "accelerated",
                               (json_int_t) counts.accelerated));
        cli_json_set(out, "cache",
                     json_pack("{s:I, s:I, s:I}", "bytes", (json_int_t) use.bytes, "devices", (json_int_t) use.copies,
                               "complete", (json_int_t) use.complete));
        return 0;
}

static int open_status(struct status *s, struct zp_error *err) {
        zp_autofree char *database = zp_format("%s/metadata.db", s->root);
        zp_autofree char *snapshots = zp_format("%s/snapshots", s->root);
        zp_autofree char *copies = zp_format("%s/unpacked", s->store_path);
        if (!database || !snapshots || !copies)
                return no_memory(err);
        int r = snap_metastore_open_to_read(database, ZP_DATABASE_PATIENCE_MS, &s->metastore, err);
        if (r == -ENOENT)
                zp_error_hint(
                        err, access(snapshots, F_OK) == 0
                                     ? "a snapshotter has used this root directory: put it back, and restart the daemon"
                                     : "no snapshotter has used this root directory; --root or --config says "
                                       "which one");
        if (r == 0)
                r = zp_mount_table_read(&s->mounts, err);
        if (r < 0)
                return r;
        s->copies_fd = open(copies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        r = zp_store_open(s->store_path, ZP_STORE_READ, &s->store, err);
        return r == -ENOENT ? 0 : r;
}

static void close_status(struct status *s) {
        snap_metastore_close(s->metastore);
        zp_mount_table_free(s->mounts);
        if (s->store)
                zp_store_close(s->store);
        if (s->copies_fd >= 0)
                close(s->copies_fd);
        zp_arena_clear(&s->arena);
}

int cli_node_status(const char *root, const char *store, json_t **out, struct zp_error *err) {
        struct status s = { .root = root, .store_path = store, .copies_fd = -1 };
        zp_auto(json_decref) json_t *document = json_object();
        int r = document ? open_status(&s, err) : no_memory(err);
        if (r == 0) {
                cli_json_set(document, "root", text_json(root));
                cli_json_set(document, "store", text_json(store));
                cli_json_set(document, "daemon", daemon_json(&s));
                r = add_counts(&s, document, err);
        }
        if (r == 0)
                r = add_images(&s, document, err);
        if (r == 0)
                r = add_containers(&s, document, err);
        close_status(&s);
        if (r == 0)
                *out = zp_steal(&document);
        return r;
}
