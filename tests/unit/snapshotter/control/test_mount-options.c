/* SPDX-License-Identifier: Apache-2.0
 *
 * The mounts of a snapshot are those that containerd's overlayfs snapshotter gives.
 */
#include "support.h"

#include "base/buffer.h"
#include "snapshotter/control/mount-options.h"

static struct zp_arena arena;
static struct snap_mount mount;
static uint64_t parents[] = { 7, 3, 12 };

static int drop_arena(void **state) {
        (void) state;
        zp_arena_clear(&arena);
        return 0;
}

static char *show(enum snap_kind kind, size_t parent_count, struct snap_mount_settings settings,
                  struct snap_labels labels) {
        struct zp_buffer text = { 0 };
        struct snap_chain chain = { .info = { .id = 42, .kind = kind, .labels = labels },
                                    .parents = parents,
                                    .parent_count = parent_count };
        settings.root = "/r";
        assert_ok(snap_mount_of(&settings, &chain, &arena, &mount, &err));
        zp_buffer_text(&text, mount.type);
        zp_buffer_text(&text, " ");
        zp_buffer_text(&text, mount.source);
        for (size_t i = 0; i < mount.option_count; i++) {
                zp_buffer_text(&text, " ");
                zp_buffer_text(&text, mount.options[i]);
        }
        return text.data;
}

static void assert_mount(enum snap_kind kind, size_t parent_count, struct snap_mount_settings settings,
                         const char *expected) {
        char *text = show(kind, parent_count, settings, (struct snap_labels){ 0 });
        assert_string_equal(text, expected);
        free(text);
}

static void one_directory_is_bound(void **state) {
        (void) state;
        struct snap_mount_settings plain = { .index_off = true };
        assert_mount(SNAP_ACTIVE, 0, plain, "bind /r/snapshots/42/fs rw rbind");
        assert_mount(SNAP_VIEW, 0, plain, "bind /r/snapshots/42/fs ro rbind");
        assert_mount(SNAP_VIEW, 1, plain, "bind /r/snapshots/7/fs ro rbind");
}

static void several_directories_are_an_overlay(void **state) {
        (void) state;
        assert_mount(SNAP_ACTIVE, 1, (struct snap_mount_settings){ 0 },
                     "overlay overlay workdir=/r/snapshots/42/work upperdir=/r/snapshots/42/fs "
                     "lowerdir=/r/snapshots/7/fs");
        assert_mount(SNAP_ACTIVE, 3, (struct snap_mount_settings){ .index_off = true, .user_xattr = true },
                     "overlay overlay index=off userxattr workdir=/r/snapshots/42/work upperdir=/r/snapshots/42/fs "
                     "lowerdir=/r/snapshots/7/fs:/r/snapshots/3/fs:/r/snapshots/12/fs");
        assert_mount(SNAP_VIEW, 2, (struct snap_mount_settings){ .index_off = true, .redirect_dir = true },
                     "overlay overlay index=off redirect_dir=on lowerdir=/r/snapshots/7/fs:/r/snapshots/3/fs");
}

static void assert_mount_on_base(enum snap_kind kind, size_t parent_count, const char *expected) {
        struct snap_mount_settings settings = { .root = "/r" };
        struct snap_chain chain = { .info = { .id = 42, .kind = kind },
                                    .parents = parents,
                                    .parent_count = parent_count,
                                    .base = { .id = 5 } };
        assert_ok(snap_mount_of(&settings, &chain, &arena, &mount, &err));
        assert_string_equal(mount.option_count > 2 ? mount.options[2] : mount.options[0], expected);
}

static void a_base_is_the_lowest_of_all(void **state) {
        (void) state;
        assert_mount_on_base(SNAP_ACTIVE, 0, "lowerdir=/r/mounts/5");
        assert_mount_on_base(SNAP_ACTIVE, 2, "lowerdir=/r/snapshots/7/fs:/r/snapshots/3/fs:/r/mounts/5");
        assert_mount_on_base(SNAP_VIEW, 1, "lowerdir=/r/snapshots/7/fs:/r/mounts/5");
        assert_mount_on_base(SNAP_VIEW, 0, "ro");
        assert_string_equal(mount.type, "bind");
        assert_string_equal(mount.source, "/r/mounts/5");
}

static void ids_are_mapped_by_the_mount_only_where_wanted(void **state) {
        (void) state;
        struct snap_label maps[] = { { SNAP_LABEL_UID_MAPPING, "0:1000:10" }, { SNAP_LABEL_GID_MAPPING, "0:2000:10" } };
        struct snap_labels labels = { maps, 2 };
        char *text = show(SNAP_ACTIVE, 0, (struct snap_mount_settings){ .remap_ids = true }, labels);
        assert_string_equal(text, "bind /r/snapshots/42/fs uidmap=0:1000:10 gidmap=0:2000:10 rw rbind");
        free(text);
        text = show(SNAP_ACTIVE, 0, (struct snap_mount_settings){ 0 }, labels);
        assert_string_equal(text, "bind /r/snapshots/42/fs rw rbind");
        free(text);
        maps[0].value = "";
        text = show(SNAP_ACTIVE, 0, (struct snap_mount_settings){ .remap_ids = true }, labels);
        assert_string_equal(text, "bind /r/snapshots/42/fs gidmap=0:2000:10 rw rbind");
        free(text);
}

static int mapped(const char *uids, const char *gids, int64_t *uid, int64_t *gid) {
        struct snap_label maps[2];
        struct snap_labels labels = { maps, 0 };
        if (uids)
                maps[labels.count++] = (struct snap_label){ SNAP_LABEL_UID_MAPPING, uids };
        if (gids)
                maps[labels.count++] = (struct snap_label){ SNAP_LABEL_GID_MAPPING, gids };
        return snap_mapped_root(&labels, uid, gid, &err);
}

static void the_root_of_a_mapping_is_found(void **state) {
        (void) state;
        int64_t uid, gid;
        assert_ok(mapped(NULL, NULL, &uid, &gid));
        assert_true(uid == -1 && gid == -1);
        assert_ok(mapped("", "", &uid, &gid)); /* as if they were not there */
        assert_true(uid == -1 && gid == -1);
        assert_ok(mapped("0:1000:10", "5:9:1,0:4294967294:1", &uid, &gid));
        assert_true(uid == 1000 && gid == 4294967294);
        assert_ok(mapped("0:1000:10", NULL, &uid, &gid));
        assert_true(uid == 1000 && gid == 0);
}

static void a_mapping_that_makes_no_sense_is_refused(void **state) {
        (void) state;
        static const char *const bad[] = { "0",         "0:1",      "0:1:",           "0:1:1;",
                                           "0:1:1,",    "a:1:1",    "0:4294967295:1", "-1:0:1",
                                           "1:1000:10", "0:1000:0", "0: 1:1",         "0:99999999999999999999:1" };
        int64_t uid, gid;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                if (mapped(bad[i], NULL, &uid, &gid) != -EINVAL)
                        fail_msg("'%s'", bad[i]);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_teardown(one_directory_is_bound, drop_arena),
                cmocka_unit_test_teardown(several_directories_are_an_overlay, drop_arena),
                cmocka_unit_test_teardown(a_base_is_the_lowest_of_all, drop_arena),
                cmocka_unit_test_teardown(ids_are_mapped_by_the_mount_only_where_wanted, drop_arena),
                cmocka_unit_test(the_root_of_a_mapping_is_found),
                cmocka_unit_test(a_mapping_that_makes_no_sense_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
