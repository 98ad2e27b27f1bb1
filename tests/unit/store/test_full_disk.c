/* SPDX-License-Identifier: Apache-2.0
 *
 * The store on file systems that have too little room: of n pages, or n inodes, for every n up to enough.
 */
#include <sched.h>
#include <sys/mount.h>

#include "store-fixture.h"

static bool can_mount;

static int group_setup(void **state) {
        (void) state;
        can_mount = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
        return 0;
}

static void put_on_tmpfs(struct world *w, const char *options) {
        zp_store_close(w->store);
        w->store = NULL;
        assert_int_equal(mount("tmpfs", w->directory, "tmpfs", 0, options), 0);
}

static void enlarge(struct world *w) {
        assert_int_equal(mount("tmpfs", w->directory, "tmpfs", MS_REMOUNT, "size=64m,nr_inodes=10000"), 0);
}

static void take_off_tmpfs(struct world *w) {
        zp_store_close(w->store);
        w->store = NULL;
        assert_int_equal(umount(w->directory), 0);
}

static int build(struct world *w, const char *content) {
        char a[32], b[32];
        const char *const both[] = { a, b, NULL };
        snprintf(a, sizeof a, "a/%s", content);
        snprintf(b, sizeof b, "b/%s", content);
        int r = w->store ? 0 : zp_store_open(w->path, ZP_STORE_CREATE, &w->store, &w->err);
        if (r == 0)
                r = commit_layer(w->store, "a", content, &w->err);
        if (r == 0)
                r = commit_layer(w->store, "b", content, &w->err);
        return r == 0 ? commit_image(w->store, "i", content, "docker://docker.io/library/i:1", both, &w->err) : r;
}

static void assert_out_of_space(struct world *w, int r) {
        if (r != -ENOSPC)
                fail_msg("%d: %s", r, w->err.message);
        assert_non_null(strstr(w->err.message, "No space left on device"));
        assert_non_null(strstr(w->err.hint, "free some space"));
}

/* true: the build had enough room. */
static bool build_in(struct world *w, const char *options) {
        zp_error_clear(&w->err);
        put_on_tmpfs(w, options);
        int r = build(w, "1");
        if (r < 0) {
                assert_out_of_space(w, r);
                if (w->store)
                        assert_whole(w);
                enlarge(w);
                must(w, build(w, "1"));
        }
        assert_whole(w);
        assert_true(has_image(w, "i"));
        take_off_tmpfs(w);
        return r == 0;
}

static void build_on_a_full_disk_is_one_error_and_no_harm(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        char options[64];
        bool enough = false;
        for (int pages = 1; !enough; pages++) {
                snprintf(options, sizeof options, "size=%dk", pages * 4);
                enough = build_in(w, options);
                assert_true(pages < 1000);
        }
}

static void build_without_inodes_is_one_error_and_no_harm(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        char options[64];
        bool enough = false;
        for (int inodes = 2; !enough; inodes++) {
                snprintf(options, sizeof options, "size=1m,nr_inodes=%d", inodes);
                enough = build_in(w, options);
                assert_true(inodes < 1000);
        }
}

static void fill_up(struct world *w) {
        static char block[4096] = { 1 };
        int fd = open(below(w, "../filler"), O_CREAT | O_WRONLY | O_APPEND, 0644);
        assert_true(fd >= 0);
        while (write(fd, block, sizeof block) > 0)
                ;
        assert_int_equal(errno, ENOSPC);
        close(fd);
}

static void images_can_be_removed_from_a_full_disk(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        put_on_tmpfs(w, "size=1m");
        must(w, build(w, "1"));
        fill_up(w);
        struct zp_digest digest = digest_of_text("i");
        struct zp_prune_result result;
        must(w, zp_store_remove_image(w->store, &digest, &w->err));
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(result.layers, 2);
        assert_whole(w);
        zp_store_close(w->store);
        w->store = NULL;
        fill_up(w);
        must(w, zp_store_open(w->path, ZP_STORE_WRITE, &w->store, &w->err));
        take_off_tmpfs(w);
}

static void replacement_on_a_full_disk_keeps_what_was_there(void **state) {
        struct world *w = *state;
        if (!can_mount)
                skip();
        bool enough = false;
        for (int pages = 0; !enough; pages++) {
                put_on_tmpfs(w, "size=1m");
                must(w, build(w, "1"));
                fill_up(w);
                struct stat st;
                assert_int_equal(stat(below(w, "../filler"), &st), 0);
                assert_int_equal(truncate(below(w, "../filler"), st.st_size - pages * 4096), 0);
                int r = build(w, "2");
                if (r < 0)
                        assert_out_of_space(w, r);
                assert_whole(w);
                assert_true(has_layer(w, "b"));
                enough = r == 0;
                take_off_tmpfs(w);
                assert_true(pages < 200);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(build_on_a_full_disk_is_one_error_and_no_harm),
                world_test(build_without_inodes_is_one_error_and_no_harm),
                world_test(images_can_be_removed_from_a_full_disk),
                world_test(replacement_on_a_full_disk_keeps_what_was_there),
        };
        return cmocka_run_group_tests(tests, group_setup, NULL);
}
