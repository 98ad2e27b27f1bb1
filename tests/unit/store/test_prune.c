/* SPDX-License-Identifier: Apache-2.0
 *
 * Removing images, and what is left of them; and that nothing mounted goes.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mount.h>

#include "store-fixture.h"

static bool can_mount;

static int group_setup(void **state) {
        (void) state;
        can_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        return 0;
}

static void put_two_images(struct world *w) {
        must(w, commit_layer(w->store, "base", "1", &w->err));
        must(w, commit_layer(w->store, "top", "1", &w->err));
        must(w, commit_layer(w->store, "loose", "1", &w->err));
        must(w, commit_image(w->store, "small", "1", "oci:/small:1", (const char *[]){ "base", NULL }, &w->err));
        must(w, commit_image(w->store, "large", "1", "oci:/large:1", (const char *[]){ "base", "top", NULL }, &w->err));
}

static void put_device(struct world *w, const char *layer) {
        struct zp_digest diff_id = digest_of_text(layer);
        int fd = open(below(w, "devices/%s.raw", hex_of(&diff_id)), O_CREAT | O_WRONLY, 0644);
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
        put_device(w, "base");
        must(w, zp_store_prune(w->store, true, &dry, &w->err));
        assert_true(has_layer(w, "loose"));
        assert_int_equal(count_entries(below(w, "devices")), 1);
        must(w, zp_store_prune(w->store, false, &real, &w->err));
        assert_int_equal(dry.layers, 1);
        assert_int_equal(dry.devices, 1);
        struct zp_layer_record loose = layer_record("loose", "1");
        assert_true(dry.bytes >= loose.metadata_size + loose.index_size + loose.pack_size);
        assert_memory_equal(&dry, &real, sizeof dry);
        assert_int_equal(count_entries(below(w, "devices")), 0);
        assert_whole(w);
}

/* A directory with something mounted on it. */
static const char *mount_something(struct world *w, const char *name) {
        static char path[128];
        snprintf(path, sizeof path, "%s/%s", w->directory, name);
        assert_true(mkdir(path, 0755) == 0 || errno == EEXIST);
        assert_int_equal(mount("tmpfs", path, "tmpfs", 0, "size=4k"), 0);
        return path;
}

static void mounted_image_stays(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        struct zp_digest small = digest_of_text("small");
        struct zp_prune_result result;
        put_two_images(w);
        put_device(w, "base");
        put_device(w, "top");
        const char *path = mount_something(w, "a mount point"); /* mountinfo escapes the spaces */
        must(w, zp_store_record_mount(w->store, &small, path, &w->err));
        assert_int_equal(remove_image(w, "small"), -EBUSY);
        assert_non_null(strstr(w->err.message, path));
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(result.devices, 1);
        assert_int_equal(count_entries(below(w, "devices")), 1);
        /* The layer under it may not get another device either, but the same one. */
        assert_int_equal(commit_layer(w->store, "base", "2", &w->err), -EBUSY);
        assert_whole(w);
        must(w, commit_layer(w->store, "base", "1", &w->err));
        must(w, zp_store_forget_mount(w->store, path, &w->err));
        must(w, remove_image(w, "small"));
        assert_int_equal(umount(path), 0);
        assert_whole(w);
}

static void mount_the_kernel_no_longer_has_is_forgotten(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        struct zp_digest small = digest_of_text("small");
        put_two_images(w);
        const char *path = mount_something(w, "mnt");
        must(w, zp_store_record_mount(w->store, &small, path, &w->err));
        assert_int_equal(umount(path), 0);
        must(w, remove_image(w, "small"));
        assert_whole(w);
}

static void mount_is_recorded_only_where_something_is_mounted(void **state) {
        struct world *w = *state;
        struct zp_digest small = digest_of_text("small");
        put_two_images(w);
        assert_int_equal(zp_store_record_mount(w->store, &small, w->directory, &w->err), -EINVAL);
}

static void mount_of_an_image_that_is_gone_is_refused(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        struct zp_digest digest = digest_of_text("gone");
        const char *path = mount_something(w, "mnt");
        assert_int_equal(zp_store_record_mount(w->store, &digest, path, &w->err), -ENOENT);
        assert_int_equal(umount(path), 0);
}

static void mount_point_is_found_through_a_symbolic_link(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        struct zp_digest small = digest_of_text("small");
        char link[128];
        put_two_images(w);
        snprintf(link, sizeof link, "%s/link", w->directory);
        const char *path = mount_something(w, "mnt");
        assert_int_equal(symlink(path, link), 0);
        must(w, zp_store_record_mount(w->store, &small, link, &w->err));
        assert_int_equal(remove_image(w, "small"), -EBUSY);
        assert_int_equal(umount(path), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(removed_image_keeps_layers_until_prune),
                world_test(removing_what_is_not_there_says_so),
                world_test(removed_image_frees_its_names),
                world_test(dry_run_counts_and_keeps),
                world_test(mounted_image_stays),
                world_test(mount_the_kernel_no_longer_has_is_forgotten),
                world_test(mount_is_recorded_only_where_something_is_mounted),
                world_test(mount_of_an_image_that_is_gone_is_refused),
                world_test(mount_point_is_found_through_a_symbolic_link),
        };
        return cmocka_run_group_tests(tests, group_setup, NULL);
}
