/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing images, and what is left of them; and that nothing mounted goes.
 */
#include <errno.h>

#include <sys/file.h>

#include "erofs/writer.h"
#include "store-fixture.h"
#include "store/store-internal.h"

static void put_two_images(struct world *w) {
        must(w, commit_layer(w->store, "base", "1", &w->err));
        must(w, commit_layer(w->store, "top", "1", &w->err));
        must(w, commit_layer(w->store, "loose", "1", &w->err));
        must(w, commit_image(w->store, "small", "1", "oci:/small:1", (const char *[]){ "base", NULL }, &w->err));
        must(w, commit_image(w->store, "large", "1", "oci:/large:1", (const char *[]){ "base", "top", NULL }, &w->err));
}

static void put_unpacked(struct world *w, const char *layer) {
        struct zp_digest device = device_record(layer, "1").digest;
        int fd = open(below(w, "unpacked/%s.raw", hex_of(&device)), O_CREAT | O_WRONLY, 0644);
        assert_int_equal(write(fd, "data", 4), 4);
        close(fd);
}

static int remove_image(struct world *w, const char *name) {
        struct zp_digest digest = digest_of_text(name);
        return zp_store_remove_image(w->store, &digest, &w->err);
}

static void removed_image_keeps_layers_until_prune(void **state) {
        struct world *w = *state;
        struct zp_prune_result result;
        put_two_images(w);
        must(w, remove_image(w, "large"));
        assert_false(has_image(w, "large"));
        assert_true(has_layer(w, "top"));
        assert_whole(w);
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(result.layers, 2);
        assert_int_equal(result.devices, 2);
        assert_false(has_layer(w, "top") || has_layer(w, "loose"));
        assert_true(has_layer(w, "base") && has_image(w, "small"));
        assert_whole(w);
}

static void removing_what_is_not_there_says_so(void **state) {
        struct world *w = *state;
        assert_int_equal(remove_image(w, "large"), -ENOENT);
}

static void removed_image_frees_its_names(void **state) {
        struct world *w = *state;
        put_two_images(w);
        must(w, remove_image(w, "small"));
        struct zp_image_record image;
        assert_int_equal(zp_store_lookup_image(w->store, "oci:/small:1", &image, &w->err), -ENOENT);
}

static void dry_run_counts_and_keeps(void **state) {
        struct world *w = *state;
        struct zp_prune_result dry, real;
        put_two_images(w);
        put_unpacked(w, "base");
        must(w, zp_store_prune(w->store, true, &dry, &w->err));
        assert_true(has_layer(w, "loose"));
        assert_int_equal(count_entries(below(w, "unpacked")), 1);
        must(w, zp_store_prune(w->store, false, &real, &w->err));
        assert_int_equal(dry.layers, 1);
        assert_int_equal(dry.devices, 1);
        assert_int_equal(dry.unpacked, 1);
        struct zp_layer_record loose = layer_record("loose", "1");
        struct zp_device_record device = device_record("loose", "1");
        assert_true(dry.bytes >= loose.metadata_size + device.index_size + device.pack_size);
        assert_memory_equal(&dry, &real, sizeof dry);
        assert_int_equal(count_entries(below(w, "unpacked")), 0);
        assert_whole(w);
}

static void part_of_a_device_that_nobody_fetches_on_goes(void **state) {
        struct world *w = *state;
        struct zp_prune_result dry, real;
        struct zp_device_record base = device_record("base", "1"), found;
        put_two_images(w);
        zp_autoclose int fd = zp_store_open_partial(w->store, &base.digest, &w->err);
        char block[4096] = "data";
        assert_int_equal(write(fd, block, sizeof block), sizeof block);
        must(w, zp_store_prune(w->store, true, &dry, &w->err));
        assert_int_equal(dry.partial, 1);
        assert_true(exists(below(w, "devices/%s/device.part", hex_of(&base.digest))));
        must(w, zp_store_prune(w->store, false, &real, &w->err));
        assert_memory_equal(&dry, &real, sizeof dry);
        assert_false(exists(below(w, "devices/%s/device.part", hex_of(&base.digest))));
        assert_int_equal(zp_store_find_device(w->store, &base.digest, &found, &w->err), 1);
        assert_whole(w);
        must(w, zp_store_prune(w->store, false, &real, &w->err));
        assert_int_equal(real.partial, 0);
        assert_int_equal(real.bytes, 0);
}

static void device_goes_with_the_last_layer_that_names_it(void **state) {
        struct world *w = *state;
        struct zp_prune_result result;
        struct zp_device_record base = device_record("base", "1"), found;
        struct zp_layer_record newer = layer_record("newer", "1");
        put_two_images(w);
        newer.devices[0] = base.digest;
        must(w, put_layer_only(w->store, "newer", "1", &newer, &w->err));
        must(w, commit_image(w->store, "next", "1", NULL, (const char *[]){ "newer", NULL }, &w->err));
        must(w, remove_image(w, "small"));
        must(w, remove_image(w, "large"));
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &base.digest, &found, &w->err), 1);
        assert_false(has_layer(w, "base"));
        assert_whole(w);
        must(w, remove_image(w, "next"));
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &base.digest, &found, &w->err), 0);
        assert_whole(w);
}

/* A mount table with one EROFS at /mnt. */
struct one_mount {
        struct zp_mount mount;
        struct zp_mount_table table;
        char source[400];
};

static const struct zp_mount_table *erofs_from(struct one_mount *m, const char *store, const char *image,
                                               const char *file) {
        struct zp_digest digest = digest_of_text(image);
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(m->source, sizeof m->source, "%s/images/%s/%s", store, zp_digest_hex(&digest, hex), file);
        m->mount = (struct zp_mount){ "/mnt", "erofs", m->source };
        m->table = (struct zp_mount_table){ &m->mount, 1, NULL };
        return &m->table;
}

static bool shows(struct world *w, const struct zp_mount_table *table, const char *image) {
        struct zp_digest digest = digest_of_text(image);
        struct zp_mounts mounts = { 0 };
        must(w, zp_mounts_select(w->store, table, &mounts, &w->err));
        const char *point = zp_mounts_of_image(&mounts, &digest);
        assert_true(!point || strcmp(point, "/mnt") == 0);
        zp_mounts_clear(&mounts);
        return point != NULL;
}

static bool uses(struct world *w, const struct zp_mount_table *table, const char *layer) {
        struct zp_digest device = device_record(layer, "1").digest;
        struct zp_mounts mounts = { 0 };
        must(w, zp_mounts_select(w->store, table, &mounts, &w->err));
        int r = zp_mounts_of_device(w->store, &mounts, &device, &w->err);
        assert_true(r >= 0);
        zp_mounts_clear(&mounts);
        return r == 1;
}

/* An EROFS that is no image's, on the device of a layer. */
static const struct zp_mount_table *base_on(struct world *w, struct one_mount *m, const char *layer) {
        struct zp_erofs_device device = { .digest = device_record(layer, "1").digest, .blocks = 1 };
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE, .devices = &device, .device_count = 1 };
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_result result;
        assert_non_null(tree);
        snprintf(m->source, sizeof m->source, "%s", below(w, "base.erofs"));
        zp_autoclose int fd = open(m->source, O_RDWR | O_CREAT | O_TRUNC, 0600);
        must(w, zp_erofs_write(tree, &options, fd, "base.erofs", &result, &w->err));
        m->mount = (struct zp_mount){ "/mnt", "erofs", m->source };
        m->table = (struct zp_mount_table){ &m->mount, 1, NULL };
        return &m->table;
}

static const char *only_has(struct world *w, const struct zp_mount_table *table, const char *image) {
        struct zp_digest digest = digest_of_text(image);
        struct zp_mounts mounts = { 0 };
        const char *point;
        must(w, zp_mounts_select(w->store, table, &mounts, &w->err));
        must(w, zp_mounts_of_only(w->store, &mounts, &digest, &point, &w->err));
        zp_mounts_clear(&mounts);
        return point;
}

/* Another store's image keeps a device only where it has none itself. */
static void image_of_another_store_reads_its_own_devices(void **state) {
        struct world *w = *state;
        struct one_mount m;
        struct zp_digest image = digest_of_text("large"), device = device_record("loose", "1").digest;
        char file[600];
        put_two_images(w);
        base_on(w, &m, "loose");
        snprintf(file, sizeof file, "%s", below(w, "other/images/%s", hex_of(&image)));
        must(w, zp_make_directories(file, 0700, &w->err));
        strcat(file, "/snapshot.erofs");
        assert_int_equal(rename(m.source, file), 0);
        m.mount.source = file;
        assert_true(uses(w, &m.table, "loose") && !shows(w, &m.table, "large"));
        must(w, zp_make_directories(below(w, "other/devices/%s/device.zst", hex_of(&device)), 0700, &w->err));
        assert_false(uses(w, &m.table, "loose") || shows(w, &m.table, "large"));
}

/* Reading it here would be the daemon's waiting for itself; its name is enough. */
static void disk_that_is_served_shows_its_image_and_is_not_read(void **state) {
        struct world *w = *state;
        struct one_mount m;
        struct zp_digest large = digest_of_text("large");
        char served[500];
        put_two_images(w);
        base_on(w, &m, "loose");
        snprintf(served, sizeof served, "%s", below(w, "disk-%s", hex_of(&large)));
        assert_int_equal(rename(m.source, served), 0);
        struct zp_mount mounts[] = { { w->path, "fuse.other", "zeropull" }, { "/mnt", "erofs", served } };
        struct zp_mount_table table = { mounts, 2, NULL };
        assert_true(uses(w, &table, "loose") && !shows(w, &table, "large"));
        mounts[0].type = "fuse.zeropull";
        assert_false(uses(w, &table, "loose") || shows(w, &table, "small"));
        assert_true(shows(w, &table, "large") && uses(w, &table, "top"));
}

static void what_other_metadata_shows_is_in_use(void **state) {
        struct world *w = *state;
        struct one_mount m;
        put_two_images(w);
        const struct zp_mount_table *table = base_on(w, &m, "top");
        assert_true(uses(w, table, "top"));
        assert_false(uses(w, table, "base") || uses(w, table, "loose"));
        assert_false(shows(w, table, "large"));
        assert_string_equal(only_has(w, table, "large"), "/mnt");
        assert_null(only_has(w, table, "small"));
        table = base_on(w, &m, "base"); /* either may go: the other has it */
        assert_null(only_has(w, table, "large"));
        assert_null(only_has(w, table, "small"));
        assert_int_equal(chmod(m.source, 0666), 0);
        assert_false(uses(w, table, "base")); /* whose file it is, nobody knows */
}

/* Whoever builds, pulls or mounts it has its lock. */
static void image_that_somebody_is_at_stays_and_it_is_said_when_it_can_go(void **state) {
        struct world *w = *state;
        struct zp_digest small = digest_of_text("small");
        struct zp_store_lock *lock;
        put_two_images(w);
        must(w, zp_store_lock(w->store, &small, NULL, NULL, NULL, &lock, &w->err));
        assert_int_equal(remove_image(w, "small"), -EBUSY);
        assert_non_null(strstr(w->err.message, "is being built, pulled or mounted"));
        assert_non_null(strstr(w->err.hint, "when that has finished"));
        assert_true(has_image(w, "small"));
        zp_store_unlock(lock);
        must(w, remove_image(w, "small"));
}

/* As the data plane does with what it writes. */
static void what_is_being_written_is_not_pruned(void **state) {
        struct world *w = *state;
        struct zp_prune_result result;
        put_two_images(w);
        struct zp_digest device = device_record("base", "1").digest;
        int fd = open(below(w, "unpacked/%s.part", hex_of(&device)), O_RDWR | O_CREAT, 0600);
        assert_int_equal(flock(fd, LOCK_EX), 0);
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(count_entries(below(w, "unpacked")), 1);
        close(fd);
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(count_entries(below(w, "unpacked")), 0);
}

static void mount_is_known_by_the_file_it_is_read_from(void **state) {
        struct world *w = *state;
        struct one_mount m;
        put_two_images(w);
        const struct zp_mount_table *table = erofs_from(&m, w->path, "small", "snapshot.erofs");
        assert_true(shows(w, table, "small"));
        assert_false(shows(w, table, "large"));
        assert_true(uses(w, table, "base"));
        assert_false(uses(w, table, "top"));
        assert_true(zp_store_has_mount(w->store, &m.mount));
}

static void store_is_known_by_any_name(void **state) {
        struct world *w = *state;
        struct one_mount m;
        char link[128], gone[128];
        put_two_images(w);
        snprintf(link, sizeof link, "%s/link", w->directory);
        assert_int_equal(symlink("store", link), 0);
        assert_true(shows(w, erofs_from(&m, link, "small", "snapshot.erofs"), "small"));
        /* one that was moved, and one whose path was too long for a mount's source */
        snprintf(gone, sizeof gone, "%s/where the store was", w->directory);
        assert_true(shows(w, erofs_from(&m, gone, "small", "snapshot.erofs"), "small"));
        assert_true(shows(w, erofs_from(&m, "/proc/self/fd/7", "small", "snapshot.erofs"), "small"));
}

static void other_mounts_are_not_ours(void **state) {
        struct world *w = *state;
        struct one_mount m;
        put_two_images(w);
        assert_false(shows(w, erofs_from(&m, w->directory, "small", "snapshot.erofs"), "small"));
        assert_false(zp_store_has_mount(w->store, &m.mount));
        assert_false(shows(w, erofs_from(&m, w->path, "small", "layer.erofs"), "small"));
        assert_false(shows(w, erofs_from(&m, w->path, "small", "x/snapshot.erofs"), "small"));
        erofs_from(&m, w->path, "small", "snapshot.erofs");
        m.mount.type = "tmpfs";
        assert_false(shows(w, &m.table, "small"));
        m.mount = (struct zp_mount){ "/mnt", "erofs", "snapshot.erofs" };
        assert_false(zp_store_has_mount(w->store, &m.mount));
}

static void source_of_a_mount_fits_and_names_the_image(void **state) {
        struct world *w = *state;
        struct zp_digest small = digest_of_text("small");
        put_two_images(w);
        zp_autofree char *source = zp_store_mount_source(w->store, &small);
        struct zp_mount mount = { "/mnt", "erofs", source };
        assert_true(shows(w, &(struct zp_mount_table){ &mount, 1, NULL }, "small"));
        assert_int_equal(access(source, R_OK), 0);
        /* from a store with a long path */
        char path[400];
        snprintf(path, sizeof path, "%s/%0200d/%0100d", w->directory, 0, 0);
        must(w, zp_make_directories(path, 0755, &w->err));
        snprintf(path, sizeof path, "%s/%0200d/%0100d/store", w->directory, 0, 0);
        zp_store_close(zp_steal(&w->store));
        assert_int_equal(rename(w->path, path), 0);
        must(w, zp_store_open(path, ZP_STORE_WRITE, &w->store, &w->err));
        zp_autofree char *short_source = zp_store_mount_source(w->store, &small);
        assert_true(strlen(short_source) <= 255);
        assert_int_equal(access(short_source, R_OK), 0);
        mount.source = short_source;
        assert_true(shows(w, &(struct zp_mount_table){ &mount, 1, NULL }, "small"));
}

static void mount_of_an_image_that_is_gone_is_not_confirmed(void **state) {
        struct world *w = *state;
        struct zp_digest small = digest_of_text("small"), gone = digest_of_text("gone");
        put_two_images(w);
        must(w, zp_store_confirm_mount(w->store, &small, &w->err));
        assert_int_equal(zp_store_confirm_mount(w->store, &gone, &w->err), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(removed_image_keeps_layers_until_prune),
                world_test(removing_what_is_not_there_says_so),
                world_test(removed_image_frees_its_names),
                world_test(dry_run_counts_and_keeps),
                world_test(part_of_a_device_that_nobody_fetches_on_goes),
                world_test(device_goes_with_the_last_layer_that_names_it),
                world_test(image_of_another_store_reads_its_own_devices),
                world_test(disk_that_is_served_shows_its_image_and_is_not_read),
                world_test(what_other_metadata_shows_is_in_use),
                world_test(image_that_somebody_is_at_stays_and_it_is_said_when_it_can_go),
                world_test(what_is_being_written_is_not_pruned),
                world_test(mount_is_known_by_the_file_it_is_read_from),
                world_test(store_is_known_by_any_name),
                world_test(other_mounts_are_not_ours),
                world_test(source_of_a_mount_fits_and_names_the_image),
                world_test(mount_of_an_image_that_is_gone_is_not_confirmed),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
