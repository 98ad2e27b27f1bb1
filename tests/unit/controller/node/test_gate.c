/* SPDX-License-Identifier: Apache-2.0
 *
 * A container is made, or is not, by what the snapshotter has for it and its pod wants.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/buffer.h"
#include "controller/node/gate.h"
#include "snapshotter/control/accelerate.h"
#include "snapshotter/control/metastore.h"

static char root[64];
static struct zp_error err;

static int make_nothing(void *context, const struct snap_chain *chain, struct zp_error *e) {
        (void) context;
        (void) chain;
        (void) e;
        return 0;
}

static void create(struct snap_metastore *store, const char *name, const char *parent) {
        struct zp_arena arena = { 0 };
        struct snap_chain chain = { 0 };
        const struct snap_create active = { .kind = SNAP_ACTIVE, .name = name, .parent = parent, .make = make_nothing };
        assert_int_equal(snap_metastore_create(store, &arena, &active, &chain, &err), 0);
        zp_arena_clear(&arena);
}

/* Layers of another image that begins with those of the accelerated one. */
static void add_layer(struct snap_metastore *store, const char *name, const char *parent) {
        static const char digest[] = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
        struct snap_label of = { SNAP_LABEL_MANIFEST, digest };
        struct zp_arena arena = { 0 };
        struct snap_info info;
        create(store, "k8s.io/4/being-unpacked", parent);
        assert_int_equal(snap_metastore_get(store, &arena, "k8s.io/4/being-unpacked", &info, NULL, &err), 0);
        const struct snap_commit commit = {
                .name = name, .key = "k8s.io/4/being-unpacked", .id = info.id, .parent = parent, .labels = { &of, 1 }
        };
        assert_int_equal(snap_metastore_commit(store, &commit, &err), 0);
        zp_arena_clear(&arena);
}

/* An accelerated image's container "fast", "slow" of an ordinary one, and "partly" of one of which the accelerated one
 * is the beginning, as containerd names them. */
static int begin(void **state) {
        (void) state;
        zp_auto(snap_metastore_close) struct snap_metastore *store = NULL;
        strcpy(root, "/tmp/test-gate-XXXXXX");
        assert_non_null(mkdtemp(root));
        zp_autofree char *path = zp_format("%s/metadata.db", root);
        assert_int_equal(snap_metastore_open(path, &store, &err), 0);
        struct snap_accelerated image = { .name = "k8s.io/1/sha256:a", .parent = "" };
        image.base = (struct snap_base){ .reference = "r.example/a:1", .layers = 1, .of = 1 };
        assert_int_equal(snap_metastore_add_accelerated(store, &image, &err), 0);
        create(store, "k8s.io/2/fast", "k8s.io/1/sha256:a");
        create(store, "k8s.io/3/slow", "");
        add_layer(store, "k8s.io/5/sha256:b", "k8s.io/1/sha256:a");
        create(store, "k8s.io/6/partly", "k8s.io/5/sha256:b");
        return 0;
}

static int end(void **state) {
        (void) state;
        zp_autofree char *command = zp_format("rm -r '%s'", root);
        return system(command);
}

static int ask(const char *id, const char *wish) {
        const struct node_nri_container container = {
                .id = id, .name = "c", .pod = "p", .namespace = "n", .annotation = wish
        };
        zp_error_clear(&err);
        return node_gate_check(root, &container, &err);
}

static void a_pod_that_wants_nothing_gets_its_containers(void **state) {
        (void) state;
        assert_int_equal(ask("fast", NULL), 0);
        assert_int_equal(ask("slow", NULL), 0);
        assert_int_equal(ask("none", NULL), 0);
}

static void required_means_a_snapshot(void **state) {
        (void) state;
        assert_int_equal(ask("fast", "required"), 0);
        assert_int_equal(ask("slow", "required"), -EPERM);
        assert_non_null(strstr(err.message, "no snapshot here: it has no parent"));
        assert_int_equal(ask("none", "required"), -EPERM);
        assert_non_null(strstr(err.message, "not run on zeropull"));
        assert_int_equal(ask("ast", "required"), -EPERM);
}

static void never_means_none(void **state) {
        (void) state;
        assert_int_equal(ask("fast", "never"), -EPERM);
        assert_non_null(strstr(err.message, "runtimeClassName: overlayfs"));
        assert_int_equal(ask("slow", "never"), 0);
        assert_int_equal(ask("none", "never"), 0);
}

static void of_layers_of_which_some_are_a_snapshots_neither_is_true(void **state) {
        (void) state;
        assert_int_equal(ask("partly", "required"), -EPERM);
        assert_non_null(strstr(err.message, "no snapshot here: the daemon was not asked for the image"));
        assert_int_equal(ask("partly", "never"), -EPERM);
        assert_int_equal(ask("partly", NULL), 0);
}

static void what_nobody_understands_starts_nothing(void **state) {
        (void) state;
        assert_int_equal(ask("fast", "Required"), -EINVAL);
        assert_int_equal(ask("slow", ""), -EINVAL);
}

static void where_no_snapshotter_has_been_nothing_is_accelerated(void **state) {
        (void) state;
        const struct node_nri_container container = { .id = "x", .name = "c", .pod = "p", .namespace = "n" };
        struct node_nri_container wish = container;
        wish.annotation = "never";
        assert_int_equal(node_gate_check((void *) "/nonexistent", &wish, &err), 0);
        wish.annotation = "required";
        assert_int_equal(node_gate_check((void *) "/nonexistent", &wish, &err), -EPERM);
}

/* While somebody has the database for himself. */
static void what_cannot_be_told_within_a_second_or_so_is_refused(void **state) {
        (void) state;
        zp_autofree char *path = zp_format("%s/metadata.db", root);
        struct timespec begun, ended;
        sqlite3 *other;
        assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
        assert_int_equal(sqlite3_exec(other, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
                         SQLITE_OK);
        clock_gettime(CLOCK_MONOTONIC, &begun);
        assert_int_equal(ask("fast", "required"), -EAGAIN);
        clock_gettime(CLOCK_MONOTONIC, &ended);
        assert_true(ended.tv_sec - begun.tv_sec < 8);
        sqlite3_close(other);
        assert_int_equal(ask("fast", "required"), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_pod_that_wants_nothing_gets_its_containers, begin, end),
                cmocka_unit_test_setup_teardown(required_means_a_snapshot, begin, end),
                cmocka_unit_test_setup_teardown(never_means_none, begin, end),
                cmocka_unit_test_setup_teardown(of_layers_of_which_some_are_a_snapshots_neither_is_true, begin, end),
                cmocka_unit_test_setup_teardown(what_nobody_understands_starts_nothing, begin, end),
                cmocka_unit_test_setup_teardown(what_cannot_be_told_within_a_second_or_so_is_refused, begin, end),
                cmocka_unit_test(where_no_snapshotter_has_been_nothing_is_accelerated),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
