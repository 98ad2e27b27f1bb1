/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "controller/node/images.h"
#include "oci/json.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define WEB "{\"image\": \"r.example/web:1\", \"digest\": \"" A "\"}"

static struct node_images *images;
static struct node_task task;
static uint64_t due_ms;

static int begin(void **state) {
        (void) state;
        return node_images_new(&images, NULL);
}

static int end(void **state) {
        (void) state;
        node_task_clear(&task);
        node_images_free(images);
        return 0;
}

static void want(const char *list) {
        zp_autofree char *text = zp_format("{\"images\": [%s]}", list);
        json_t *spec = json_loads(text, 0, NULL);
        assert_non_null(spec);
        node_images_set(images, spec);
        json_decref(spec);
}

static int next(uint64_t now_ms) {
        node_task_clear(&task);
        int r = node_images_next(images, now_ms, &task, &due_ms, NULL);
        assert_true(r >= 0);
        return r;
}

static void succeed(const char *digest, bool was_present) {
        struct node_result result = { .is_done = true, .was_present = was_present, .bytes = 10 };
        snprintf(result.digest, sizeof result.digest, "%s", digest);
        assert_int_equal(node_images_done(images, &task, &result, 0, NULL), 0);
}

static void fail_at(uint64_t now_ms) {
        const struct node_result result = { .reason = "PullFailed", .message = "no route" };
        assert_int_equal(node_images_done(images, &task, &result, now_ms, NULL), 0);
}

static void assert_status(int desired, int ready, int failed, const char *phase) {
        zp_auto(json_decref) json_t *status = node_images_status(images);
        json_t *first = json_array_get(json_object_get(status, "images"), 0);
        assert_int_equal(json_integer_value(json_object_get(status, "desired")), desired);
        assert_int_equal(json_integer_value(json_object_get(status, "ready")), ready);
        assert_int_equal(json_integer_value(json_object_get(status, "failed")), failed);
        if (phase)
                assert_string_equal(json_string_value(json_object_get(first, "phase")), phase);
}

static void what_is_wanted_is_fetched_once(void **state) {
        (void) state;
        want(WEB);
        assert_status(1, 0, 0, "Pending");
        assert_int_equal(next(0), 1);
        assert_false(task.is_removal);
        assert_string_equal(task.image, "r.example/web:1");
        assert_string_equal(task.digest, A);
        assert_int_equal(task.timeout_s, 3600);
        assert_status(1, 0, 0, "Fetching");
        struct node_task other = { 0 };
        assert_int_equal(node_images_next(images, 0, &other, &due_ms, NULL), 0); /* one at a time */
        succeed(A, false);
        assert_status(1, 1, 0, "Ready");
        want(WEB);
        assert_int_equal(next(0), 0);
        assert_true(due_ms == UINT64_MAX);
}

static void while_it_is_fetched_it_is_told_how_far(void **state) {
        (void) state;
        want(WEB);
        next(0);
        assert_true(node_images_progress(images, &task, 5, 20));
        assert_false(node_images_progress(images, &task, 5, 40)); /* more was found: no less than before */
        zp_auto(json_decref) json_t *status = node_images_status(images);
        json_t *first = json_array_get(json_object_get(status, "images"), 0);
        assert_int_equal(json_integer_value(json_object_get(first, "percent")), 25);
        assert_int_equal(json_integer_value(json_object_get(first, "bytes")), 5);
        succeed(A, false);
        zp_auto(json_decref) json_t *after = node_images_status(images);
        first = json_array_get(json_object_get(after, "images"), 0);
        assert_null(json_object_get(first, "percent"));
        assert_int_equal(json_integer_value(json_object_get(first, "bytes")), 10);
        assert_false(node_images_progress(images, &task, 7, 20));
}

static void what_is_wanted_no_more_is_removed_if_it_is_its_own(void **state) {
        (void) state;
        want(WEB ", {\"image\": \"r.example/db:1\", \"digest\": \"" B "\"}");
        for (int i = 0; i < 2; i++) {
                assert_int_equal(next(0), 1);
                bool is_web = strcmp(task.digest, A) == 0;
                zp_autofree char *digest = strdup(task.digest);
                succeed(digest, !is_web); /* somebody else had fetched db before */
        }
        want("");
        assert_status(0, 0, 0, NULL);
        assert_int_equal(next(0), 1);
        assert_true(task.is_removal);
        assert_string_equal(task.digest, A);
        succeed("", false);
        assert_int_equal(next(0), 0);
        assert_int_equal(json_object_size(node_images_own(images)), 0);
}

static void a_removal_that_is_refused_is_tried_again_later(void **state) {
        (void) state;
        want(WEB);
        next(0);
        succeed(A, false);
        want("");
        assert_int_equal(next(5), 1);
        fail_at(5);
        assert_int_equal(next(1000), 0);
        assert_int_equal(due_ms, 60005);
        assert_int_equal(next(60005), 1);
        assert_true(task.is_removal);
}

static void a_moved_tag_is_fetched_before_the_old_one_goes(void **state) {
        (void) state;
        want(WEB);
        next(0);
        succeed(A, false);
        want("{\"image\": \"r.example/web:1\", \"digest\": \"" B "\"}");
        assert_int_equal(next(0), 1);
        assert_false(task.is_removal);
        assert_string_equal(task.digest, B);
        fail_at(0);
        assert_int_equal(next(1), 0); /* the old one is all there is */
        assert_int_equal(next(10000), 1);
        succeed(B, false);
        assert_int_equal(next(10000), 1);
        assert_true(task.is_removal);
        assert_string_equal(task.digest, A);
}

static void failures_are_repeated_ever_later_and_told(void **state) {
        (void) state;
        static const uint64_t waits_ms[] = { 10000, 20000, 40000, 80000, 160000, 320000, 600000, 600000 };
        uint64_t now_ms = 7;
        want(WEB);
        for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
                assert_int_equal(next(now_ms), 1);
                fail_at(now_ms);
                assert_status(1, 0, 1, "Failed");
                assert_int_equal(next(now_ms), 0);
                assert_int_equal(due_ms - now_ms, waits_ms[i]);
                now_ms = due_ms;
        }
        zp_auto(json_decref) json_t *status = node_images_status(images);
        json_t *first = json_array_get(json_object_get(status, "images"), 0);
        assert_string_equal(json_string_value(json_object_get(first, "message")), "no route");
        assert_string_equal(json_string_value(json_object_get(first, "digest")), A);
        assert_int_equal(json_integer_value(json_object_get(first, "attempts")), 8);
}

static void a_change_while_it_is_fetched_is_heard_afterwards(void **state) {
        (void) state;
        want(WEB);
        next(0);
        want("{\"image\": \"r.example/web:1\", \"digest\": \"" A "\", \"complete\": true}");
        succeed(A, false);
        assert_status(1, 0, 0, "Pending");
        assert_int_equal(next(0), 1);
        assert_true(task.is_complete);
}

static void what_leaves_while_it_is_fetched_goes_afterwards(void **state) {
        (void) state;
        want(WEB);
        next(0);
        want("");
        assert_status(0, 0, 0, NULL);
        succeed(A, false);
        assert_int_equal(next(0), 1);
        assert_true(task.is_removal);
}

static void after_a_restart_it_knows_its_own(void **state) {
        (void) state;
        json_t *own = json_loads(
                "{\"" A "\": \"r.example/web:1\", \"" B "\": \"r.example/old:1\", \"nonsense\": \"x\"}", 0, NULL);
        assert_int_equal(node_images_take_own(images, own, NULL), 0);
        json_decref(own);
        want("{\"image\": \"r.example/web:1\"}"); /* by tag: it may be A */
        assert_int_equal(next(0), 1);
        assert_false(task.is_removal);
        succeed(A, true);
        assert_int_equal(next(0), 1);
        assert_true(task.is_removal);
        assert_string_equal(task.digest, B);
        succeed("", false);
        assert_int_equal(next(0), 0);
        assert_non_null(json_object_get(node_images_own(images), A));
}

/* Another task, while the first is under way. */
static int next_beside(void) {
        struct node_task other = { 0 };
        int r = node_images_next(images, 0, &other, &due_ms, NULL);
        node_task_clear(&other);
        return r;
}

static void what_is_wanted_again_while_it_is_removed_is_fetched_afterwards(void **state) {
        (void) state;
        static const char *const again[] = { "{\"image\": \"r.example/web:1\"}", WEB };
        for (size_t i = 0; i < 2; i++) {
                want(WEB);
                assert_int_equal(next(0), 1);
                succeed(A, false);
                want("");
                assert_int_equal(next(0), 1);
                assert_true(task.is_removal);
                want(again[i]);
                assert_int_equal(next_beside(), 0);
                succeed("", false);
                assert_status(1, 0, 0, "Pending");
                assert_int_equal(next(0), 1);
                assert_false(task.is_removal);
                succeed(A, false);
                assert_non_null(json_object_get(node_images_own(images), A));
        }
}

static void what_is_being_fetched_is_not_removed(void **state) {
        (void) state;
        static const char *const fetched[] = { WEB, "{\"image\": \"r.example/web:1\"}" };
        json_t *own = json_loads("{\"" A "\": \"r.example/other:1\"}", 0, NULL);
        assert_int_equal(node_images_take_own(images, own, NULL), 0);
        json_decref(own);
        for (size_t i = 0; i < 2; i++) {
                want(fetched[i]);
                assert_int_equal(next(0), 1);
                assert_false(task.is_removal);
                want("");
                assert_int_equal(next_beside(), 0);
                fail_at(0);
        }
        assert_int_equal(next(0), 1);
        assert_true(task.is_removal);
        assert_string_equal(task.digest, A);
}

static void what_would_be_an_option_is_no_image(void **state) {
        (void) state;
        want("{\"image\": \"--store\"}, {\"image\": \"\"}, {\"image\": \"r.example/a\", \"digest\": \"sha256:00\"}, "
             "{\"image\": "
             "\"r.example/b\", \"from\": \"-x\"}, 7");
        assert_int_equal(next(0), 0);
        assert_status(0, 0, 0, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_is_wanted_is_fetched_once, begin, end),
                cmocka_unit_test_setup_teardown(while_it_is_fetched_it_is_told_how_far, begin, end),
                cmocka_unit_test_setup_teardown(what_is_wanted_no_more_is_removed_if_it_is_its_own, begin, end),
                cmocka_unit_test_setup_teardown(a_removal_that_is_refused_is_tried_again_later, begin, end),
                cmocka_unit_test_setup_teardown(a_moved_tag_is_fetched_before_the_old_one_goes, begin, end),
                cmocka_unit_test_setup_teardown(failures_are_repeated_ever_later_and_told, begin, end),
                cmocka_unit_test_setup_teardown(a_change_while_it_is_fetched_is_heard_afterwards, begin, end),
                cmocka_unit_test_setup_teardown(what_leaves_while_it_is_fetched_goes_afterwards, begin, end),
                cmocka_unit_test_setup_teardown(after_a_restart_it_knows_its_own, begin, end),
                cmocka_unit_test_setup_teardown(what_would_be_an_option_is_no_image, begin, end),
                cmocka_unit_test_setup_teardown(what_is_wanted_again_while_it_is_removed_is_fetched_afterwards, begin,
                                                end),
                cmocka_unit_test_setup_teardown(what_is_being_fetched_is_not_removed, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
