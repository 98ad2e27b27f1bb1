/* SPDX-License-Identifier: Apache-2.0
 *
 * A store of its own for each test, small layers and images to put into it, and the check that a store is
 * whole: every record has its directory with the recorded content, and nothing else lies about.
 */
#ifndef ZP_TESTS_STORE_FIXTURE_H
#define ZP_TESTS_STORE_FIXTURE_H

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/file.h"
#include "store/store.h"

struct world {
        char directory[64]; /* the store is at directory/store */
        char path[96];
        struct zp_store *store;
        struct zp_error err;
};

static inline int world_setup_in(const char *base, void **state) {
        struct world *w = calloc(1, sizeof *w);
        if (!w)
                return -1;
        snprintf(w->directory, sizeof w->directory, "%s/zeropull-test-XXXXXX", base);
        if (!mkdtemp(w->directory))
                return -1;
        snprintf(w->path, sizeof w->path, "%s/store", w->directory);
        *state = w;
        return zp_store_open(w->path, ZP_STORE_CREATE, &w->store, &w->err);
}

static inline int world_setup(void **state) {
        return world_setup_in("/tmp", state);
}

static inline int world_teardown(void **state) {
        struct world *w = *state;
        zp_store_close(w->store);
        int r = zp_remove_tree(AT_FDCWD, w->directory, NULL);
        free(w);
        return r;
}

#define world_test(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static inline void world_reopen(struct world *w, enum zp_store_mode mode) {
        zp_store_close(w->store);
        w->store = NULL;
        if (zp_store_open(w->path, mode, &w->store, &w->err) < 0)
                fail_msg("open: %s", w->err.message);
}

/* A path below the store. */
static inline const char *below(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline const char *below(const struct world *w, const char *format, ...) {
        static char path[512];
        int used = snprintf(path, sizeof path, "%s/", w->path);
        va_list args;
        va_start(args, format);
        vsnprintf(path + used, sizeof path - (size_t) used, format, args);
        va_end(args);
        return path;
}

static inline bool exists(const char *path) {
        struct stat st;
        return lstat(path, &st) == 0;
}

static inline struct zp_digest digest_of_text(const char *text) {
        struct zp_digest digest;
        zp_digest_of(text, strlen(text), &digest);
        return digest;
}

static inline const char *hex_of(const struct zp_digest *digest) {
        static char hex[ZP_SHA256_HEX_SIZE];
        return zp_digest_hex(digest, hex);
}

static inline int put_file(struct zp_staging *staging, const char *name, const char *text, struct zp_error *err) {
        int fd = zp_staging_create(staging, name, err);
        if (fd < 0)
                return fd;
        int r = zp_write_all(fd, text, strlen(text), name, err);
        close(fd);
        return r;
}

/* The layer called `name` on a device of its own; their three files hold texts made from name and `content`. */
struct layer_texts {
        char metadata[128], pack[128], index[128];
};
static inline struct layer_texts layer_texts(const char *name, const char *content) {
        struct layer_texts t;
        snprintf(t.metadata, sizeof t.metadata, "metadata %s %s", name, content);
        snprintf(t.pack, sizeof t.pack, "pack %s %s", name, content);
        snprintf(t.index, sizeof t.index, "index %s %s", name, content);
        return t;
}
static inline struct zp_device_record device_record(const char *name, const char *content) {
        struct layer_texts t = layer_texts(name, content);
        return (struct zp_device_record){
                .digest = digest_of_text(t.index),
                .index_size = strlen(t.index),
                .pack_size = strlen(t.pack),
                .device_size = 4096,
                .frame_size = 524288,
                .level = 7,
                .is_complete = true,
        };
}
static inline struct zp_layer_record layer_record(const char *name, const char *content) {
        struct layer_texts t = layer_texts(name, content);
        return (struct zp_layer_record){
                .metadata_digest = digest_of_text(t.metadata),
                .metadata_size = strlen(t.metadata),
                .device_count = 1,
                .devices = { digest_of_text(t.index) },
                .diff_id = digest_of_text(name),
                .tar_size = 10240,
                .entries = 7,
        };
}

static inline int put_device(struct zp_store *store, const char *name, const char *content,
                             const struct zp_device_record *record, struct zp_error *err) {
        struct layer_texts t = layer_texts(name, content);
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_staging_new(store, &staging, err);
        if (r == 0)
                r = put_file(staging, "device.idx", t.index, err);
        if (r == 0 && record->is_complete)
                r = put_file(staging, "device.zst", t.pack, err);
        return r == 0 ? zp_staging_commit_device(staging, record, err) : r;
}

static inline int put_layer_only(struct zp_store *store, const char *name, const char *content,
                                 const struct zp_layer_record *record, struct zp_error *err) {
        struct layer_texts t = layer_texts(name, content);
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_staging_new(store, &staging, err);
        if (r == 0)
                r = put_file(staging, "layer.erofs", t.metadata, err);
        return r == 0 ? zp_staging_commit_layer(staging, record, err) : r;
}

static inline int commit_layer(struct zp_store *store, const char *name, const char *content, struct zp_error *err) {
        struct zp_device_record device = device_record(name, content);
        struct zp_layer_record layer = layer_record(name, content);
        int r = put_device(store, name, content, &device, err);
        return r == 0 ? put_layer_only(store, name, content, &layer, err) : r;
}

/* An image on the layers called by the NULL-terminated list, of the content "1" or as "name/content" says; known as
 * `source` (may be NULL). */
static inline int commit_image(struct zp_store *store, const char *name, const char *content, const char *source,
                               const char *const *layers, struct zp_error *err) {
        struct zp_digest digests[8], diff_ids[8];
        char *names[] = { (char *) source, NULL };
        char text[128];
        snprintf(text, sizeof text, "snapshot %s %s", name, content);
        struct zp_image_record record = { .manifest_digest = digest_of_text(name),
                                          .manifest_media_type = (char *) "application/vnd.oci.image.manifest.v1+json",
                                          .platform = (char *) "linux/amd64",
                                          .metadata_digest = digest_of_text(text),
                                          .metadata_size = strlen(text),
                                          .config_digest = digest_of_text("config"),
                                          .image_size = 12345,
                                          .created_s = 1700000000,
                                          .layers = digests,
                                          .diff_ids = diff_ids,
                                          .names = names };
        for (; layers[record.layer_count]; record.layer_count++) {
                char layer[64];
                snprintf(layer, sizeof layer, "%s", layers[record.layer_count]);
                char *slash = strchr(layer, '/');
                if (slash)
                        *slash = '\0';
                struct zp_layer_record of_layer = layer_record(layer, slash ? slash + 1 : "1");
                digests[record.layer_count] = of_layer.metadata_digest;
                diff_ids[record.layer_count] = of_layer.diff_id;
        }
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_store_lock(store, &record.manifest_digest, NULL, NULL, NULL, &lock, err);
        if (r == 0)
                r = zp_staging_new(store, &staging, err);
        if (r == 0)
                r = put_file(staging, "snapshot.erofs", text, err);
        if (r == 0)
                r = put_file(staging, "manifest.json", name, err);
        if (r == 0)
                r = put_file(staging, "config.json", "config", err);
        return r == 0 ? zp_staging_commit_image(staging, &record, err) : r;
}

#define must(w, call)                                                \
        do {                                                         \
                if ((call) < 0)                                      \
                        fail_msg("%s: %s", #call, (w)->err.message); \
        } while (0)

static inline void assert_file_has(struct zp_store *store, int fd, const struct zp_digest *digest, uint64_t size) {
        (void) store;
        char text[256];
        assert_true(fd >= 0);
        ssize_t n = read(fd, text, sizeof text);
        close(fd);
        struct zp_digest actual;
        assert_int_equal(n, size);
        zp_digest_of(text, (size_t) n, &actual);
        assert_true(zp_digest_equal(&actual, digest));
}

static inline size_t count_entries(const char *path) {
        zp_autoclosedir DIR *dir = opendir(path);
        assert_non_null(dir);
        size_t count = 0;
        for (struct dirent *entry; (entry = readdir(dir));)
                count += entry->d_name[0] != '.';
        return count;
}

/* The promise of a store, whatever happened to the processes before. */
static inline void assert_whole(struct world *w) {
        zp_autofree struct zp_device_record *devices = NULL;
        zp_autofree struct zp_layer_record *layers = NULL;
        zp_autofree struct zp_image_record *images = NULL;
        size_t device_count = 0, layer_count = 0, image_count = 0;
        must(w, zp_store_list_devices(w->store, &devices, &device_count, &w->err));
        must(w, zp_store_list_layers(w->store, &layers, &layer_count, &w->err));
        must(w, zp_store_list_images(w->store, &images, &image_count, &w->err));
        for (size_t i = 0; i < device_count; i++) {
                const struct zp_device_record *d = &devices[i];
                struct stat st;
                assert_file_has(w->store, zp_store_open_device_file(w->store, &d->digest, "device.idx", &w->err),
                                &d->digest, d->index_size);
                assert_true(!d->is_complete || (stat(below(w, "devices/%s/device.zst", hex_of(&d->digest)), &st) == 0 &&
                                                (uint64_t) st.st_size == d->pack_size));
        }
        for (size_t i = 0; i < layer_count; i++) {
                const struct zp_layer_record *l = &layers[i];
                assert_file_has(w->store,
                                zp_store_open_layer_file(w->store, &l->metadata_digest, "layer.erofs", &w->err),
                                &l->metadata_digest, l->metadata_size);
                for (uint16_t k = 0; k < l->device_count; k++) {
                        struct zp_device_record device;
                        assert_int_equal(zp_store_find_device(w->store, &l->devices[k], &device, &w->err), 1);
                }
        }
        for (size_t i = 0; i < image_count; i++) {
                struct zp_image_record *m = &images[i];
                assert_file_has(w->store,
                                zp_store_open_image_file(w->store, &m->manifest_digest, "snapshot.erofs", &w->err),
                                &m->metadata_digest, m->metadata_size);
                for (uint16_t k = 0; k < m->layer_count; k++) {
                        struct zp_layer_record layer;
                        assert_int_equal(zp_store_find_layer(w->store, &m->layers[k], &m->diff_ids[k], &layer, &w->err),
                                         1);
                }
                zp_image_record_clear(m);
        }
        assert_int_equal(count_entries(below(w, "devices")), device_count);
        assert_int_equal(count_entries(below(w, "layers")), layer_count);
        assert_int_equal(count_entries(below(w, "images")), image_count);
        assert_int_equal(count_entries(below(w, "tmp")), 0);
}

/* Changes the database behind the store's back. */
static inline void run_sql(struct world *w, const char *sql) {
        sqlite3 *db = NULL;
        assert_int_equal(sqlite3_open(below(w, "zeropull.db"), &db), SQLITE_OK);
        char *message = NULL;
        if (sqlite3_exec(db, sql, NULL, NULL, &message) != SQLITE_OK)
                fail_msg("%s: %s", sql, message);
        sqlite3_close(db);
}

/* Of any content. */
static inline bool has_layer(struct world *w, const char *name) {
        struct zp_digest diff_id = digest_of_text(name);
        zp_autofree struct zp_layer_record *layers = NULL;
        size_t count = 0;
        bool is_there = false;
        must(w, zp_store_list_layers(w->store, &layers, &count, &w->err));
        for (size_t i = 0; i < count; i++)
                is_there |= zp_digest_equal(&layers[i].diff_id, &diff_id);
        return is_there;
}

static inline bool has_image(struct world *w, const char *name) {
        struct zp_digest digest = digest_of_text(name);
        struct zp_image_record image = { 0 };
        int r = zp_store_find_image(w->store, &digest, &image, &w->err);
        assert_true(r >= 0);
        zp_image_record_clear(&image);
        return r == 1;
}

#endif
