/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/model/time.h"
#include "controller/reconcile.h"

#define DIGEST "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define KEY "ns/n"
#define IMAGES 72 /* 36 for two platforms */

static bool may_not_write(void *context) {
        (void) context;
        return false;
}

static void nobody_is_granted(void *context, const char *owner) {
        (void) context;
        fail_msg("%s", owner);
}

/* An object that tracks images of which nothing can be found out, nor has been: a look changes nothing of it. */
static json_t *tracking_object(void) {
        static const char *const platforms[] = { "linux/amd64", "linux/arm64" };
        char names[IMAGES / 2][16];
        const char *images[IMAGES / 2];
        struct ctl_status status = { 0 };
        json_t *list = json_array();
        for (size_t i = 0; i < IMAGES / 2; i++) {
                snprintf(names[i], sizeof names[i], "r.io/A: %zu", i);
                images[i] = names[i];
                json_array_append_new(list, json_string(names[i]));
        }
        assert_true(ctl_status_align(&status, images, IMAGES / 2, platforms, 2));
        for (size_t i = 0; i < status.image_count; i++) {
                status.images[i].phase = CTL_FAILED;
                strcpy(status.images[i].digest, DIGEST);
                strcpy(status.images[i].reason, "InvalidName");
        }
        ctl_status_judge(&status, 3, NULL, NULL, ctl_now());
        json_t *object =
                json_pack("{s:{s:s, s:s, s:s, s:i, s:[s]}, s:{s:o, s:[s, s], s:s, s:s, s:s}, s:o}", "metadata",
                          "namespace", "ns", "name", "n", "uid", "u", "generation", 3, "finalizers",
                          "zeropull.dev/cleanup", "spec", "images", list, "platforms", platforms[0], platforms[1],
                          "mode", "Track", "interval", "1h", "executor", "Job", "status", ctl_status_json(&status));
        assert_non_null(object);
        ctl_status_clear(&status);
        return object;
}

/* 32 cost a request in one look. */
static void each_of_many_images_has_its_turn_and_then_none_for_an_interval(void **state) {
        (void) state;
        static const struct {
                unsigned checks; /* in all, after this look */
                bool is_done;
        } looks[] = { { 32, false }, { 64, false }, { IMAGES, true }, { IMAGES, true } };
        struct ctl_config config = { .job = { .image = "r.io/zeropull" } };
        struct ctl_world world = { .config = &config, .executors = { .config = &config }, .may_write = may_not_write };
        struct zp_error err = { 0 };
        json_t *object = tracking_object();
        assert_int_equal(ctl_cache_new(&world.snapshots, &err), 0);
        assert_int_equal(ctl_slots_new(1, 1, nobody_is_granted, NULL, &world.slots, &err), 0);
        assert_int_equal(ctl_cache_put(world.snapshots, KEY, object, &err), 1);
        ctl_cache_note(world.snapshots, KEY, CTL_NOTE_CHECKED, 1); /* long ago */
        for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
                int64_t wake_s;
                if (ctl_reconcile_snapshot(&world, KEY, &wake_s, &err) < 0)
                        fail_msg("%zu: %s", i, err.message);
                if (atomic_load(&world.counters.checks) != looks[i].checks ||
                    (looks[i].is_done ? wake_s < 3500 : wake_s != 1))
                        fail_msg("%zu: %llu checks, wakes in %lld s", i, atomic_load(&world.counters.checks),
                                 (long long) wake_s);
        }
        json_decref(object);
        ctl_slots_free(world.slots);
        ctl_cache_free(world.snapshots);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_of_many_images_has_its_turn_and_then_none_for_an_interval),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
