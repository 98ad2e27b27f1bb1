/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and directories of snapshots, together: whoever was answered has both, whatever others give up meanwhile.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "snapshotter/control/service.h"
#include "snapshotter/mounts/mounts.h"

#define SNAPSHOTS 300
#define QUITTERS 3

static struct snap_service *service;

static int setup_service(void **state) {
        struct snap_service_options options = { .root = "root", .store = "store" };
        return setup(state) < 0 ? -1 : snap_service_open(&options, &service, &err);
}

static int teardown_service(void **state) {
        snap_service_close(service);
        return teardown(state);
}

static int prepare(const char *key, const struct zp_cancel *cancel) {
        struct zp_arena arena = { 0 };
        struct snap_mount mount;
        struct snap_new new = { .kind = SNAP_ACTIVE, .key = key, .parent = "" };
        int r = snap_service_create(service, &arena, &new, cancel, &mount, NULL);
        zp_arena_clear(&arena);
        return r;
}

static bool has_directory(const char *key) {
        struct zp_arena arena = { 0 };
        struct snap_info info;
        struct stat st;
        char path[64];
        assert_ok(snap_metastore_get(snap_service_metastore(service), &arena, key, &info, NULL, &err));
        snprintf(path, sizeof path, "root/snapshots/%llu/fs", (unsigned long long) info.id);
        zp_arena_clear(&arena);
        return stat(path, &st) == 0;
}

static atomic_bool is_over;

/* Gives up each time, when all is made and nothing recorded. */
static void *quit(void *argument) {
        struct zp_cancel cancel = { 0 };
        char key[32];
        int *failures = argument;
        atomic_store(&cancel.requested, true);
        for (int i = 0; !atomic_load(&is_over); i++) {
                snprintf(key, sizeof key, "quitter-%p-%d", argument, i);
                *failures += prepare(key, &cancel) != -ECANCELED;
        }
        return NULL;
}

static void who_gives_up_takes_nothing_of_others_with_him(void **state) {
        (void) state;
        pthread_t threads[QUITTERS];
        int failures[QUITTERS] = { 0 }, refused = 0;
        char key[32];
        for (int i = 0; i < QUITTERS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, quit, &failures[i]), 0);
        for (int i = 0; i < SNAPSHOTS; i++) {
                snprintf(key, sizeof key, "s%d", i);
                refused += prepare(key, NULL) != 0;
        }
        atomic_store(&is_over, true);
        for (int i = 0; i < QUITTERS; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        for (int i = 0; i < QUITTERS; i++)
                refused += failures[i];
        assert_int_equal(refused, 0);
        for (int i = 0; i < SNAPSHOTS; i++) {
                snprintf(key, sizeof key, "s%d", i);
                if (!has_directory(key))
                        fail_msg("'%s' is recorded, and has no directory", key);
        }
}

/* ---- mounts, which a test plays ---- */

static unsigned ensured, dropped;
static bool removes_meanwhile;

int __wrap_snap_mounts_ensure(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_cancel *cancel,
                              struct stat *root_directory, struct zp_error *error);
void __wrap_snap_mounts_drop(struct snap_mounts *mounts, uint64_t base_id);

int __wrap_snap_mounts_ensure(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_cancel *cancel,
                              struct stat *root_directory, struct zp_error *error) {
        (void) mounts;
        (void) base;
        (void) cancel;
        (void) error;
        if (root_directory)
                *root_directory = (struct stat){ .st_uid = 0 };
        if (removes_meanwhile) {
                removes_meanwhile = false;
                assert_ok(snap_service_remove(service, "container", &err));
                assert_ok(snap_service_remove(service, "image", &err));
        }
        ensured++;
        return 0;
}

void __wrap_snap_mounts_drop(struct snap_mounts *mounts, uint64_t base_id) {
        (void) mounts;
        (void) base_id;
        dropped = ensured; /* what is mounted later stays */
}

static void add_accelerated(void) {
        struct snap_accelerated accelerated = { .name = "image", .parent = "" };
        accelerated.base.reference = "example.com/image:1";
        accelerated.base.layers = accelerated.base.of = 1;
        assert_ok(snap_metastore_add_accelerated(snap_service_metastore(service), &accelerated, &err));
}

static int prepare_on(const char *key, const char *parent) {
        struct zp_arena arena = { 0 };
        struct snap_mount mount;
        struct snap_new new = { .kind = SNAP_ACTIVE, .key = key, .parent = parent };
        int r = snap_service_create(service, &arena, &new, NULL, &mount, &err);
        zp_arena_clear(&arena);
        return r;
}

static int get_mounts(const char *key) {
        struct zp_arena arena = { 0 };
        struct snap_mount mount;
        int r = snap_service_mounts(service, &arena, key, false, NULL, &mount, &err);
        zp_arena_clear(&arena);
        return r;
}

static void what_is_removed_while_it_is_mounted_leaves_no_mount(void **state) {
        (void) state;
        ensured = dropped = 0;
        add_accelerated();
        assert_ok(prepare_on("container", "image"));
        assert_ok(get_mounts("container"));
        assert_int_equal(dropped, 0);
        removes_meanwhile = true;
        assert_int_equal(get_mounts("container"), -ENOENT);
        assert_int_equal(ensured, 3);
        assert_int_equal(dropped, 3);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(who_gives_up_takes_nothing_of_others_with_him, setup_service,
                                                teardown_service),
                cmocka_unit_test_setup_teardown(what_is_removed_while_it_is_mounted_leaves_no_mount, setup_service,
                                                teardown_service),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
