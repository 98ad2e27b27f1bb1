/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories of snapshots: made whole, discarded at once and removed in the background, swept when nobody's.
 */
#include "support.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "snapshotter/control/directories.h"

static struct snap_directories *dirs;

static int setup_root(void **state) {
        return setup(state) < 0 ? -1 : snap_directories_open("root", &dirs, &err);
}

static int teardown_root(void **state) {
        snap_directories_close(dirs);
        return teardown(state);
}

static void assert_mode(const char *path, mode_t mode) {
        struct stat st;
        assert_int_equal(stat(path, &st), 0);
        assert_int_equal(st.st_mode & 07777, mode);
}

static void assert_gone(const char *path) {
        assert_ok(snap_directories_drain(dirs, NULL, &err));
        assert_int_equal(access(path, F_OK), -1);
        zp_autoclosedir DIR *trash = zp_open_listing(AT_FDCWD, "root/trash");
        assert_null(zp_next_entry(trash));
}

static struct snap_owner me(void) {
        return (struct snap_owner){ getuid(), getgid() };
}

static void a_snapshot_has_its_directories_whatever_the_umask(void **state) {
        (void) state;
        struct snap_owner owner;
        mode_t before = umask(077);
        assert_ok(snap_directories_make(dirs, 1, SNAP_ACTIVE, me(), &err));
        assert_ok(snap_directories_make(dirs, 2, SNAP_VIEW, me(), &err));
        umask(before);
        assert_mode("root", 0700);
        assert_mode("root/snapshots/1", 0700);
        assert_mode("root/snapshots/1/fs", 0755);
        assert_int_equal(access("root/snapshots/1/work", F_OK), 0);
        assert_int_equal(access("root/snapshots/2/work", F_OK), -1);
        assert_ok(snap_directories_owner(dirs, 1, &owner, &err));
        assert_int_equal(owner.uid, getuid());
}

static void a_discarded_one_is_gone_at_once_and_its_space_soon(void **state) {
        (void) state;
        assert_ok(snap_directories_make(dirs, 1, SNAP_ACTIVE, me(), &err));
        write_text("root/snapshots/1/fs/file", "x");
        snap_directories_discard(dirs, 1);
        assert_int_equal(access("root/snapshots/1", F_OK), -1);
        assert_gone("root/snapshots/1");
        snap_directories_discard(dirs, 1); /* nothing there: nothing happens */
}

static void a_number_given_again_gets_a_new_directory(void **state) {
        (void) state;
        assert_ok(snap_directories_make(dirs, 1, SNAP_ACTIVE, me(), &err));
        write_text("root/snapshots/1/fs/old", "x");
        assert_ok(snap_directories_make(dirs, 1, SNAP_ACTIVE, me(), &err));
        assert_int_equal(access("root/snapshots/1/fs/old", F_OK), -1);
}

static int make_nothing(void *context, const struct snap_chain *chain, struct zp_error *error) {
        (void) error;
        *(uint64_t *) context = chain->info.id;
        return 0;
}

static void what_no_record_knows_is_swept(void **state) {
        (void) state;
        zp_auto(snap_metastore_close) struct snap_metastore *store = NULL;
        struct zp_arena arena = { 0 };
        struct snap_chain chain;
        uint64_t id;
        struct snap_create new = {
                .kind = SNAP_ACTIVE, .name = "a", .parent = "", .make = make_nothing, .context = &id
        };
        assert_ok(snap_metastore_open("root/metadata.db", &store, &err));
        assert_ok(snap_metastore_create(store, &arena, &new, &chain, &err));
        zp_arena_clear(&arena);
        assert_ok(snap_directories_make(dirs, id, SNAP_ACTIVE, me(), &err));
        assert_ok(snap_directories_make(dirs, 99, SNAP_ACTIVE, me(), &err));
        assert_int_equal(mkdir("root/snapshots/not-a-number", 0700) | mkdir("root/snapshots/007", 0700), 0);
        assert_ok(snap_directories_sweep(dirs, store, &err));
        assert_gone("root/snapshots/99");
        char path[64];
        snprintf(path, sizeof path, "root/snapshots/%d", (int) id);
        assert_int_equal(access(path, F_OK), 0);
        assert_int_equal(access("root/snapshots/not-a-number", F_OK), 0);
        assert_int_equal(access("root/snapshots/007", F_OK), 0);
}

static void what_a_dead_process_left_in_the_trash_is_removed(void **state) {
        (void) state;
        snap_directories_close(dirs);
        dirs = NULL;
        assert_int_equal(mkdir("root/trash/5", 0700) | mkdir("root/trash/5/fs", 0), 0);
        assert_ok(snap_directories_open("root", &dirs, &err));
        assert_gone("root/trash/5");
}

static void a_root_is_for_one_daemon(void **state) {
        (void) state;
        struct snap_directories *second = NULL;
        assert_int_equal(snap_directories_open("root", &second, &err), -EBUSY);
        assert_message_has("another zeropull-snapshotter uses it");
}

static void a_root_that_overlayfs_cannot_be_told_is_refused(void **state) {
        (void) state;
        static const char *const bad[] = { "a,b", "a:b", "a\\b", "a\"b" };
        struct snap_directories *second = NULL;
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
                assert_int_equal(snap_directories_open(bad[i], &second, &err), -EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_root, teardown_root)

int main(void) {
        static const struct CMUnitTest tests[] = {
                TEST(a_snapshot_has_its_directories_whatever_the_umask),
                TEST(a_discarded_one_is_gone_at_once_and_its_space_soon),
                TEST(a_number_given_again_gets_a_new_directory),
                TEST(what_no_record_knows_is_swept),
                TEST(what_a_dead_process_left_in_the_trash_is_removed),
                TEST(a_root_is_for_one_daemon),
                TEST(a_root_that_overlayfs_cannot_be_told_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
