/* SPDX-License-Identifier: Apache-2.0
 *
 * Trees of any depth are measured and removed, and nothing outside them is touched.
 */
#include "support.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "snapshotter/control/walk.h"

#define DEPTH 3000

static void make_file(const char *path, size_t size) {
        char *data = calloc(1, size + 1);
        memset(data, 'x', size);
        assert_ok(zp_replace_file(AT_FDCWD, path, data, size, 0644, &err));
        free(data);
}

static uint64_t blocks_of(const char *path) {
        struct stat st;
        assert_int_equal(lstat(path, &st), 0);
        return (uint64_t) st.st_blocks * 512;
}

static void a_file_with_several_names_counts_once(void **state) {
        (void) state;
        struct snap_usage usage;
        assert_int_equal(mkdir("t", 0755) | mkdir("t/d", 0755), 0);
        make_file("t/a", 10000);
        make_file("t/d/b", 1);
        assert_int_equal(link("t/a", "t/d/a2") | link("t/a", "t/a3"), 0);
        assert_int_equal(symlink("/etc/passwd", "t/link") | mkfifo("t/fifo", 0600), 0);
        assert_ok(snap_disk_usage(AT_FDCWD, "t", NULL, &usage, &err));
        assert_int_equal(usage.inodes, 6); /* t, t/d, a, b, link, fifo */
        assert_int_equal(usage.size, blocks_of("t") + blocks_of("t/d") + blocks_of("t/a") + blocks_of("t/d/b") +
                                             blocks_of("t/link") + blocks_of("t/fifo"));
}

static void many_files_with_several_names_are_told_apart(void **state) {
        (void) state;
        struct snap_usage usage;
        char a[32], b[32];
        assert_int_equal(mkdir("t", 0755), 0);
        for (int i = 0; i < 500; i++) {
                snprintf(a, sizeof a, "t/a%d", i);
                snprintf(b, sizeof b, "t/b%d", i);
                assert_int_equal(mknod(a, S_IFREG | 0644, 0) | link(a, b), 0);
        }
        assert_ok(snap_disk_usage(AT_FDCWD, "t", NULL, &usage, &err));
        assert_int_equal(usage.inodes, 501);
}

/* Deeper than a path may be long, with fewer files open than it is deep. */
static void a_very_deep_tree_is_measured_and_removed(void **state) {
        (void) state;
        struct rlimit before, few;
        struct snap_usage usage;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = (struct rlimit){ 32, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        int fd = open(".", O_RDONLY | O_DIRECTORY);
        for (int i = 0; i < DEPTH; i++) {
                assert_int_equal(mkdirat(fd, "deep-directory", 0755) | mknodat(fd, "file", S_IFREG | 0600, 0), 0);
                int next = openat(fd, "deep-directory", O_RDONLY | O_DIRECTORY);
                assert_true(next >= 0);
                close(fd);
                fd = next;
        }
        close(fd);
        assert_ok(snap_disk_usage(AT_FDCWD, "deep-directory", NULL, &usage, &err));
        assert_int_equal(usage.inodes, DEPTH + DEPTH - 1);
        assert_ok(snap_remove_tree(AT_FDCWD, "deep-directory", NULL, &err));
        assert_int_equal(access("deep-directory", F_OK), -1);
        assert_int_equal(access("file", F_OK), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void removal_follows_no_link(void **state) {
        (void) state;
        assert_int_equal(mkdir("t", 0755) | mkdir("outside", 0755), 0);
        make_file("outside/precious", 1);
        assert_int_equal(symlink("../outside", "t/link"), 0);
        assert_ok(snap_remove_tree(AT_FDCWD, "t", NULL, &err));
        assert_int_equal(access("t", F_OK), -1);
        assert_int_equal(access("outside/precious", F_OK), 0);
        assert_ok(snap_remove_tree(AT_FDCWD, "t", NULL, &err)); /* not there any more */
        assert_ok(snap_remove_tree(AT_FDCWD, "outside/precious", NULL, &err));
}

/* A container, that goes on while its tree is walked. */
struct meddling {
        const char *at, *moves[4]; /* from, to, from, to */
        unsigned files;
};

static int meddle(void *context, int dir_fd, const char *name, const struct stat *st, struct zp_error *unused) {
        struct meddling *meddling = context;
        (void) dir_fd;
        (void) unused;
        meddling->files += S_ISREG(st->st_mode);
        if (!meddling->at || strcmp(name, meddling->at) != 0)
                return 0;
        meddling->at = NULL;
        for (int i = 0; i < 4 && meddling->moves[i]; i += 2)
                assert_int_equal(rename(meddling->moves[i], meddling->moves[i + 1]), 0);
        return 0;
}

/* What is moved counts as it is under way, and what lay beside it. Where two are, one out of the other, what is left of
 * the outer one may be missed. */
static void a_directory_that_is_moved_meanwhile_ends_no_walk(void **state) {
        (void) state;
        static const struct meddling meddlings[] = { { "inner", { "t/a/b/c", "t/elsewhere" }, 0 },
                                                     { "inner", { "t/a/b", "t/elsewhere" }, 0 },
                                                     { "inner", { "t/a", "t/elsewhere" }, 0 },
                                                     { "inner", { "t/a/b/c", "t/one", "t/a/b", "t/two" }, 0 } };
        for (int i = 0; i < 4; i++) {
                struct meddling meddling = meddlings[i];
                struct snap_walker walker = { .enter = meddle, .context = &meddling };
                assert_int_equal(mkdir("t", 0755) | mkdir("t/a", 0755) | mkdir("t/a/b", 0755), 0);
                assert_int_equal(mkdir("t/a/b/c", 0755) | mkdir("t/a/b/c/d", 0755), 0);
                assert_int_equal(mkdir("t/z", 0755) | mkdir("t/a/b/beside", 0755) | mkdir("t/a/beside", 0755), 0);
                make_file("t/a/b/c/d/inner", 1);
                make_file("t/a/b/c/d/inner2", 1);
                make_file("t/a/b/beside/file", 1);
                make_file("t/a/beside/file", 1);
                make_file("t/z/file", 1);
                assert_ok(snap_walk(AT_FDCWD, "t", &walker, &err));
                assert_in_range(meddling.files, i == 3 ? 4 : 5, 5);
                assert_ok(snap_remove_tree(AT_FDCWD, "t", NULL, &err));
        }
}

static void a_directory_that_is_removed_meanwhile_ends_no_walk(void **state) {
        (void) state;
        struct meddling meddling = { "b", { "t/a/b", "gone" }, 0 };
        struct snap_walker walker = { .enter = meddle, .context = &meddling };
        assert_int_equal(mkdir("t", 0755) | mkdir("t/a", 0755) | mkdir("t/a/b", 0755) | mkdir("t/z", 0755), 0);
        make_file("t/z/file", 1);
        assert_ok(snap_walk(AT_FDCWD, "t", &walker, &err));
        assert_int_equal(meddling.files, 1);
}

static void a_cancelled_walk_stops(void **state) {
        (void) state;
        struct zp_cancel cancel = { .requested = true };
        struct snap_usage usage;
        assert_int_equal(mkdir("t", 0755) | mkdir("t/d", 0755), 0);
        assert_int_equal(snap_disk_usage(AT_FDCWD, "t", &cancel, &usage, &err), -ECANCELED);
        assert_int_equal(snap_remove_tree(AT_FDCWD, "t", &cancel, &err), -ECANCELED);
        assert_int_equal(access("t/d", F_OK), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_file_with_several_names_counts_once, setup, teardown),
                cmocka_unit_test_setup_teardown(many_files_with_several_names_are_told_apart, setup, teardown),
                cmocka_unit_test_setup_teardown(a_very_deep_tree_is_measured_and_removed, setup, teardown),
                cmocka_unit_test_setup_teardown(removal_follows_no_link, setup, teardown),
                cmocka_unit_test_setup_teardown(a_directory_that_is_moved_meanwhile_ends_no_walk, setup, teardown),
                cmocka_unit_test_setup_teardown(a_directory_that_is_removed_meanwhile_ends_no_walk, setup, teardown),
                cmocka_unit_test_setup_teardown(a_cancelled_walk_stops, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
