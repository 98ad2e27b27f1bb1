/* SPDX-License-Identifier: Apache-2.0
 *
 * Records and directories of snapshots, together: whoever was answered has both, whatever others give up meanwhile.
 */
#include "support.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "snapshotter/control/service.h"

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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(who_gives_up_takes_nothing_of_others_with_him, setup_service,
                                                teardown_service),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
