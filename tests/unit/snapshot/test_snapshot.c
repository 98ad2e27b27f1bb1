/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge of layers that are in a store.
 */
#include "../store/store-fixture.h"

#include "base/fingerprint.h"
#include "base/limits.h"
#include "erofs/reader.h"
#include "layer/tree.h"
#include "snapshot/snapshot.h"

/* An empty layer that is said to have so many entries. */
static struct zp_layer_record put_layer(struct world *w, const char *name, uint64_t entries) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_options options = { .is_layer = true };
        struct zp_erofs_result result;
        struct zp_layer_record record = { .diff_id = digest_of_text(name), .entries = entries };
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "layer.erofs", &w->err);
        must(w, zp_erofs_write(tree, &options, fd, "layer.erofs", &result, &w->err));
        must(w, zp_fingerprint(fd, "layer.erofs", &record.metadata_size, &record.metadata_digest, &w->err));
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        return record;
}

static int write_snapshot(struct world *w, const struct zp_layer_record *lower, const struct zp_layer_record *upper,
                          const struct zp_cancel *cancel, struct zp_erofs_device **devices, uint16_t *count) {
        const struct zp_digest names[] = { lower->metadata_digest, upper->metadata_digest },
                               diff_ids[] = { lower->diff_id, upper->diff_id };
        struct zp_snapshot_layers layers = { w->store, names, diff_ids, 2, cancel };
        struct zp_erofs_result result;
        char path[128];
        snprintf(path, sizeof path, "%s/snapshot", w->directory);
        zp_autoclose int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        return zp_snapshot_write(&layers, ZP_EROFS_DEVICE_TABLE, fd, "snapshot", devices, count, &result, &w->err);
}

static int merge(struct world *w, uint64_t lower_entries, uint64_t upper_entries, const struct zp_cancel *cancel) {
        struct zp_layer_record lower = put_layer(w, "lower", lower_entries),
                               upper = put_layer(w, "upper", upper_entries);
        return write_snapshot(w, &lower, &upper, cancel, NULL, NULL);
}

static void layers_with_too_many_entries_together_are_refused(void **state) {
        struct world *w = *state;
        must(w, merge(w, ZP_LIMIT_IMAGE_ENTRIES / 2, ZP_LIMIT_IMAGE_ENTRIES / 2, NULL));
        assert_int_equal(merge(w, ZP_LIMIT_IMAGE_ENTRIES / 2, ZP_LIMIT_IMAGE_ENTRIES / 2 + 1, NULL), -E2BIG);
        assert_non_null(strstr(w->err.message, "layer 2"));
}

static void cancelled_merge_stops(void **state) {
        struct world *w = *state;
        struct zp_cancel cancel = { .requested = true };
        assert_int_equal(merge(w, 1, 1, &cancel), -ECANCELED);
}

/* A layer with one file that has a block on each of its devices. */
static struct zp_layer_record put_file_layer(struct world *w, const char *file, const char *const *devices) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_layer_record record = { .diff_id = digest_of_text(file) };
        struct zp_erofs_device table[4];
        struct zp_inode *inode;
        must(w, zp_tree_new_inode(tree, S_IFREG | 0644, &inode, &w->err));
        must(w, zp_tree_link(tree, zp_tree_root(tree), file, strlen(file), inode, &w->err));
        inode->extents = zp_tree_alloc(tree, 4 * sizeof *inode->extents);
        for (; devices[record.device_count]; record.device_count++) {
                const char *name = devices[record.device_count];
                struct zp_device_record device = device_record(name, "1");
                must(w, put_device(w->store, name, "1", &device, &w->err));
                record.devices[record.device_count] = device.digest;
                table[record.device_count] = (struct zp_erofs_device){ device.digest, 10 };
                inode->extents[record.device_count] =
                        (struct zp_extent){ .block = record.device_count, .blocks = 1, .device = record.device_count };
        }
        inode->extent_count = record.device_count;
        inode->size = record.device_count * UINT64_C(4096);
        struct zp_erofs_options options = { .devices = table, .device_count = record.device_count, .is_layer = true };
        struct zp_erofs_result result;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "layer.erofs", &w->err);
        must(w, zp_erofs_write(tree, &options, fd, "layer.erofs", &result, &w->err));
        must(w, zp_fingerprint(fd, "layer.erofs", &record.metadata_size, &record.metadata_digest, &w->err));
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        return record;
}

static void snapshot_names_each_device_that_is_used_once(void **state) {
        struct world *w = *state;
        struct zp_layer_record lower = put_file_layer(w, "f", (const char *[]){ "own", "shared", NULL });
        struct zp_layer_record upper = put_file_layer(w, "g", (const char *[]){ "newer", "shared", "old", NULL });
        static const char *const expected[] = { "own", "shared", "newer", "old" };
        struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        must(w, write_snapshot(w, &lower, &upper, NULL, &devices, &count));
        assert_int_equal(count, 4);
        for (uint16_t i = 0; i < count; i++) {
                struct zp_digest digest = device_record(expected[i], "1").digest;
                assert_true(zp_digest_equal(&devices[i].digest, &digest));
                assert_int_equal(devices[i].blocks, 10);
        }
        free(devices);
        char path[128];
        snprintf(path, sizeof path, "%s/snapshot", w->directory);
        zp_autofree char *image = NULL;
        size_t size;
        struct zp_tree *tree = NULL;
        must(w, zp_read_file(AT_FDCWD, path, 1 << 20, &image, &size, &w->err));
        must(w, zp_erofs_load(image, size, &tree, NULL, NULL, &w->err));
        const struct zp_inode *g = zp_tree_lookup(tree, zp_tree_root(tree), "g", 1)->inode;
        static const uint16_t slots[] = { 2, 1, 3 };
        assert_int_equal(g->extent_count, 3);
        for (uint16_t i = 0; i < 3; i++) {
                assert_int_equal(g->extents[i].device, slots[i]);
                assert_int_equal(g->extents[i].block, i);
        }
        zp_tree_free(tree);
}

static void device_of_a_hidden_file_is_left_out(void **state) {
        struct world *w = *state;
        struct zp_layer_record lower = put_file_layer(w, "f", (const char *[]){ "hidden", NULL });
        struct zp_layer_record upper = put_file_layer(w, "f", (const char *[]){ "seen", NULL });
        struct zp_digest seen = device_record("seen", "1").digest;
        struct zp_erofs_device *devices = NULL;
        uint16_t count = 0;
        must(w, write_snapshot(w, &lower, &upper, NULL, &devices, &count));
        assert_int_equal(count, 1);
        assert_true(zp_digest_equal(&devices[0].digest, &seen));
        free(devices);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(layers_with_too_many_entries_together_are_refused),
                world_test(cancelled_merge_stops),
                world_test(snapshot_names_each_device_that_is_used_once),
                world_test(device_of_a_hidden_file_is_left_out),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
