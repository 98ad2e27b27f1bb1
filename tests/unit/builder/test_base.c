/* SPDX-License-Identifier: Apache-2.0
 *
 * Which devices of a base a build compares with. The image is one file of metadata; nothing reads the devices.
 */
#include "../layer/tree-fixture.h"
#include "../store/store-fixture.h"
#include "base/bytes.h"
#include "base/fingerprint.h"
#include "builder/base.h"
#include "erofs/writer.h"

#define BLOCKS 100u
#define HUGE (UINT64_C(1) << 31) /* blocks of the largest device that metadata can name */

enum { SMALL, LARGE };

static void put_number(FILE *file, uint64_t number, size_t size) {
        uint8_t bytes[8];
        zp_put_le64(bytes, number);
        fwrite(bytes, size, 1, file);
}

/* docs/pack-format.md, "The block map". */
static void put_map(struct zp_staging *staging, const struct zp_digest *device) {
        char *bytes = NULL;
        size_t size = 0;
        struct zp_digest sum;
        FILE *file = open_memstream(&bytes, &size);
        fwrite("ZPMP", 4, 1, file);
        put_number(file, 1, 4);
        put_number(file, BLOCKS, 8);
        fwrite(device->bytes, sizeof device->bytes, 1, file);
        for (unsigned i = 0; i < BLOCKS; i++) {
                put_number(file, i + 1, 8);
                put_number(file, 0, 8);
        }
        fflush(file);
        zp_digest_of(bytes, size, &sum);
        fwrite(sum.bytes, sizeof sum.bytes, 1, file);
        fclose(file);
        zp_autoclose int fd = zp_staging_create(staging, "device.map", NULL);
        assert_int_equal(zp_write_all(fd, bytes, size, "device.map", NULL), 0);
        free(bytes);
}

/* A device of BLOCKS blocks that is held by its index and its map. */
static struct zp_digest put_mapped_device(struct world *w) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        struct zp_device_record record = device_record("small", "1");
        record.device_size = BLOCKS * 4096;
        record.is_fetched = true;
        record.is_complete = false;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "device.idx", layer_texts("small", "1").index, &w->err));
        put_map(staging, &record.digest);
        must(w, zp_staging_commit_device(staging, &record, &w->err));
        return record.digest;
}

static void add_file(struct zp_tree *tree, const char *path, uint16_t device, uint64_t block, uint64_t blocks) {
        struct zp_inode *inode = add(tree, path, S_IFREG | 0644);
        inode->size = blocks * 4096;
        inode->extents = zp_tree_alloc(tree, sizeof *inode->extents);
        inode->extents[0] = (struct zp_extent){ .block = block, .blocks = blocks, .device = device };
        inode->extent_count = 1;
}

static struct zp_image_record put_image(struct world *w, struct zp_tree *tree,
                                        const struct zp_erofs_device devices[2]) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE, .devices = devices, .device_count = 2 };
        struct zp_erofs_result written;
        struct zp_image_record record = { .manifest_digest = digest_of_text("base"),
                                          .manifest_media_type = (char *) "m",
                                          .platform = (char *) "linux/amd64" };
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int fd = zp_staging_create(staging, "snapshot.erofs", &w->err);
        must(w, zp_erofs_write(tree, &options, fd, "snapshot.erofs", &written, &w->err));
        must(w, zp_fingerprint(fd, "snapshot.erofs", &record.metadata_size, &record.metadata_digest, &w->err));
        must(w, put_file(staging, "manifest.json", "{}", &w->err));
        must(w, put_file(staging, "config.json", "{}", &w->err));
        must(w, zp_staging_commit_image(staging, &record, &w->err));
        return record;
}

/* How many of the devices a build would compare with. */
static unsigned chosen(struct world *w, struct zp_tree *tree) {
        struct zp_erofs_device devices[] = {
                [SMALL] = { put_mapped_device(w), BLOCKS }, [LARGE] = { digest_of_text("large"), HUGE }
        };
        struct zp_image_record image = put_image(w, tree, devices);
        struct zp_digest planned[] = { devices[SMALL].digest, devices[LARGE].digest };
        struct zp_reuse_plan plan = { .devices = planned, .device_count = 2, .room = 10 };
        struct zp_recipe recipe;
        must(w, zp_base_choose(w->store, &image, &plan, false, NULL, NULL, &recipe, &w->err));
        return recipe.base_count;
}

static void device_used_by_a_quarter_is_chosen(void **state) {
        struct world *w = *state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        add_file(tree, "b", SMALL, 80, 15);
        add_file(tree, "a", SMALL, 0, 10);
        assert_int_equal(chosen(w, tree), 1);
}

static void blocks_that_files_share_count_once(void **state) {
        struct world *w = *state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        add_file(tree, "a", SMALL, 0, 20);
        add_file(tree, "b", SMALL, 4, 10);
        add_file(tree, "c", SMALL, 0, 20);
        add_file(tree, "d", SMALL, 16, 8);
        assert_int_equal(chosen(w, tree), 0);
}

static void device_whose_data_is_lost_is_not_compared_with(void **state) {
        struct world *w = *state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        add_file(tree, "a", SMALL, 0, 25);
        assert_int_equal(chosen(w, tree), 1);
        struct zp_device_record record = device_record("small", "1");
        record.device_size = BLOCKS * 4096;
        record.is_complete = false; /* built here */
        must(w, put_device(w->store, "small", "1", &record, &w->err));
        zp_auto(zp_tree_free) struct zp_tree *again = zp_tree_new();
        add_file(again, "a", SMALL, 0, 25);
        assert_int_equal(chosen(w, again), 0);
}

/* Metadata of some KiB can say that each of its files has 8 TiB; that costs no more than other metadata. */
static void files_that_claim_a_huge_device_are_soon_counted(void **state) {
        struct world *w = *state;
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        for (unsigned i = 0; i < 1000; i++) {
                char path[16];
                snprintf(path, sizeof path, "f%u", i);
                add_file(tree, path, LARGE, 0, HUGE);
        }
        add_file(tree, "a", SMALL, 50, 25);
        assert_int_equal(chosen(w, tree), 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(device_used_by_a_quarter_is_chosen),
                world_test(blocks_that_files_share_count_once),
                world_test(device_whose_data_is_lost_is_not_compared_with),
                world_test(files_that_claim_a_huge_device_are_soon_counted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
