/* SPDX-License-Identifier: Apache-2.0
 *
 * File systems of a store, loaded: what is not as the store recorded it is not looked at.
 */
#include "../store/store-fixture.h"

#include "base/fingerprint.h"
#include "layer/tree.h"
#include "snapshot/load.h"

/* A directory "d" and one device. */
static void write_file_system(struct world *w, int fd, bool is_layer) {
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_device device = { device_record("a", "1").digest, 10 };
        struct zp_erofs_options options = { .devices = &device, .device_count = 1, .is_layer = is_layer };
        struct zp_erofs_result result;
        struct zp_inode *inode;
        must(w, zp_tree_new_inode(tree, S_IFDIR | 0755, &inode, &w->err));
        must(w, zp_tree_link(tree, zp_tree_root(tree), "d", 1, inode, &w->err));
        must(w, zp_erofs_write(tree, &options, fd, "metadata", &result, &w->err));
}

static struct zp_layer_record put_layer(struct world *w) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        struct zp_layer_record record = layer_record("a", "1");
        struct zp_device_record device = device_record("a", "1");
        must(w, put_device(w->store, "a", "1", &device, &w->err));
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "layer.erofs", &w->err);
        write_file_system(w, fd, true);
        must(w, zp_fingerprint(fd, "layer.erofs", &record.metadata_size, &record.metadata_digest, &w->err));
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        return record;
}

/* *record is the caller's. */
static void put_image(struct world *w, struct zp_layer_record *layer, struct zp_image_record *out) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        char *names[] = { NULL };
        struct zp_image_record record = { .manifest_digest = digest_of_text("image"),
                                          .manifest_media_type = (char *) "application/vnd.oci.image.manifest.v1+json",
                                          .platform = (char *) "linux/amd64",
                                          .config_digest = digest_of_text("config"),
                                          .layer_count = 1,
                                          .layers = &layer->metadata_digest,
                                          .diff_ids = &layer->diff_id,
                                          .names = names };
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        must(w, zp_store_lock(w->store, &record.manifest_digest, NULL, NULL, NULL, &lock, &w->err));
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "snapshot.erofs", &w->err);
        write_file_system(w, fd, false);
        must(w, zp_fingerprint(fd, "snapshot.erofs", &record.metadata_size, &record.metadata_digest, &w->err));
        must(w, put_file(staging, "manifest.json", "image", &w->err));
        must(w, put_file(staging, "config.json", "config", &w->err));
        must(w, zp_staging_commit_image(staging, &record, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &record.manifest_digest, out, &w->err), 1);
}

static void assert_loaded(const struct zp_loaded *loaded, uint64_t size) {
        const struct zp_digest device = device_record("a", "1").digest;
        assert_int_equal(loaded->size, size);
        assert_non_null(zp_tree_lookup(loaded->tree, zp_tree_root(loaded->tree), "d", 1));
        assert_int_equal(loaded->device_count, 1);
        assert_true(zp_digest_equal(&loaded->devices[0].digest, &device));
}

static void assert_empty(const struct zp_loaded *loaded) {
        assert_null(loaded->data);
        assert_null(loaded->tree);
        assert_null(loaded->devices);
        assert_int_equal(loaded->device_count, 0);
}

static void layer_and_snapshot_are_loaded_as_recorded(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer = put_layer(w);
        struct zp_image_record image;
        put_image(w, &layer, &image);
        zp_autoloaded struct zp_loaded of_layer = { 0 }, of_image = { 0 };
        must(w, zp_snapshot_load_layer(w->store, &layer, &of_layer, &w->err));
        assert_loaded(&of_layer, layer.metadata_size);
        must(w, zp_snapshot_load(w->store, &image, &of_image, &w->err));
        assert_loaded(&of_image, image.metadata_size);
        zp_loaded_clear(&of_layer);
        assert_empty(&of_layer);
        zp_image_record_clear(&image);
}

static void other_digest_than_recorded_is_refused(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer = put_layer(w);
        struct zp_image_record image;
        put_image(w, &layer, &image);
        struct zp_loaded loaded;
        image.metadata_digest = digest_of_text("another");
        assert_int_equal(zp_snapshot_load(w->store, &image, &loaded, &w->err), -EBADMSG);
        assert_non_null(strstr(w->err.message, "snapshot.erofs"));
        assert_empty(&loaded);
        zp_image_record_clear(&image);
}

/* One byte more at its end, or one less. */
static void other_size_than_recorded_is_refused(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer = put_layer(w);
        struct zp_loaded loaded;
        for (int more = -1; more <= 1; more += 2) {
                const char *path = below(w, "layers/%s/layer.erofs", hex_of(&layer.metadata_digest));
                assert_int_equal(truncate(path, (off_t) layer.metadata_size + more), 0);
                assert_int_equal(zp_snapshot_load_layer(w->store, &layer, &loaded, &w->err), -EBADMSG);
                assert_empty(&loaded);
        }
}

static void missing_file_is_told(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer = put_layer(w);
        struct zp_loaded loaded;
        layer.metadata_digest = digest_of_text("another");
        assert_int_equal(zp_snapshot_load_layer(w->store, &layer, &loaded, &w->err), -ENOENT);
        assert_empty(&loaded);
}

static void new_snapshot_is_loaded_without_a_record(void **state) {
        struct world *w = *state;
        char path[128];
        snprintf(path, sizeof path, "%s/snapshot", w->directory);
        zp_autoclose int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        write_file_system(w, fd, false);
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        zp_autoloaded struct zp_loaded loaded = { 0 };
        must(w, zp_snapshot_load_new(fd, (uint64_t) st.st_size, &loaded, &w->err));
        assert_loaded(&loaded, (uint64_t) st.st_size);
        zp_loaded_clear(&loaded);
        /* what is no file system is none */
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(zp_snapshot_load_new(fd, (uint64_t) st.st_size, &loaded, NULL), -EBADMSG);
        assert_empty(&loaded);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(layer_and_snapshot_are_loaded_as_recorded),
                world_test(other_digest_than_recorded_is_refused),
                world_test(other_size_than_recorded_is_refused),
                world_test(missing_file_is_told),
                world_test(new_snapshot_is_loaded_without_a_record),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
