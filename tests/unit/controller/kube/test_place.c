/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/kube/apply.h"
#include "controller/kube/kube-internal.h"

static void expect_path(struct zp_kube_place place, const char *query, const char *path) {
        char *made = zp_kube_path(&place, query);
        assert_string_equal(made, path);
        free(made);
}

static void places_are_paths_that_nothing_can_leave(void **state) {
        (void) state;
        const struct zp_kube_resource pods = { "v1", "pods" }, jobs = { "batch/v1", "jobs" };
        expect_path((struct zp_kube_place){ .resource = pods }, NULL, "/api/v1/pods");
        expect_path((struct zp_kube_place){ .resource = pods, .namespace = "ns" }, "limit=1",
                    "/api/v1/namespaces/ns/pods?limit=1");
        expect_path((struct zp_kube_place){ .resource = jobs, .namespace = "ns", .name = "j", .subresource = "status" },
                    NULL, "/apis/batch/v1/namespaces/ns/jobs/j/status");
        expect_path((struct zp_kube_place){ .resource = pods, .namespace = "../x", .name = "a/b?c#d%" }, NULL,
                    "/api/v1/namespaces/..%2Fx/pods/a%2Fb%3Fc%23d%25");
}

static void queries_are_escaped(void **state) {
        (void) state;
        char *escaped = zp_kube_escape("a=b,c!=d&\xc3\xa9 ~");
        assert_string_equal(escaped, "a%3Db%2Cc%21%3Dd%26%C3%A9%20~");
        free(escaped);
        escaped = zp_kube_escape("");
        assert_string_equal(escaped, "");
        free(escaped);
}

static void metadata_is_never_missing(void **state) {
        (void) state;
        json_t *object = json_loads(
                "{\"metadata\":{\"name\":\"n\",\"uid\":7,\"generation\":3,\"deletionTimestamp\":\"x\"}}", 0, NULL);
        assert_string_equal(zp_kube_name(object), "n");
        assert_string_equal(zp_kube_uid(object), "");
        assert_string_equal(zp_kube_namespace(object), "");
        assert_int_equal(zp_kube_generation(object), 3);
        assert_true(zp_kube_is_being_deleted(object));
        assert_string_equal(zp_kube_name(NULL), "");
        assert_false(zp_kube_is_being_deleted(NULL));
        json_decref(object);
}

static int fail_with(const char *status, struct zp_kube_failure *failure, struct zp_error *err) {
        json_t *object = json_loads(status, 0, NULL);
        assert_non_null(object);
        int r = zp_kube_fail_status(object, failure, err);
        json_decref(object);
        return r;
}

static void events_of_failure_are_failures(void **state) {
        (void) state;
        struct zp_kube_failure failure;
        struct zp_error err = { 0 };
        assert_int_equal(
                fail_with("{\"code\":410,\"reason\":\"Expired\",\"message\":\"too old\\nreally\"}", &failure, &err),
                -ESTALE);
        assert_string_equal(failure.reason, "Expired");
        assert_string_equal(err.message, "the API server answers 410 Expired: too old?really");
        assert_int_equal(fail_with("{\"reason\":\"Expired\"}", NULL, &err), -ESTALE);
        assert_int_equal(fail_with("{\"code\":500,\"message\":\"etcd\"}", NULL, &err), -EAGAIN);
        assert_int_equal(fail_with("{}", NULL, &err), -EAGAIN);
        assert_int_equal(fail_with("{\"code\":99999999999,\"message\":7,\"reason\":[]}", NULL, &err), -EAGAIN);
        assert_int_equal(fail_with("{\"code\":504,\"details\":{\"causes\":[{\"reason\":\"ResourceVersionTooLarge\"}]}}",
                                   &failure, &err),
                         -EAGAIN);
        assert_true(failure.is_version_too_large);
        assert_int_equal(
                fail_with("{\"code\":504,\"message\":\"Timeout: Too large resource version: 9\"}", &failure, &err),
                -EAGAIN);
        assert_true(failure.is_version_too_large);
        assert_int_equal(fail_with("{\"code\":504,\"details\":{\"causes\":7}}", &failure, &err), -EAGAIN);
        assert_false(failure.is_version_too_large);
}

static void waits_grow_to_half_a_minute(void **state) {
        (void) state;
        static const unsigned longest[] = { 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000 };
        for (unsigned i = 0; i < 8; i++)
                for (unsigned n = 0; n < 50; n++) {
                        unsigned wait = zp_kube_backoff_ms(i + 1);
                        assert_in_range(wait, longest[i] / 2, longest[i]);
                }
        assert_in_range(zp_kube_backoff_ms(4000000000u), 15000, 30000);
}

static void finalizers_are_found_by_their_whole_name(void **state) {
        (void) state;
        json_t *object = json_loads("{\"metadata\":{\"finalizers\":[\"a.example/x\",7]}}", 0, NULL);
        assert_true(zp_kube_has_finalizer(object, "a.example/x"));
        assert_false(zp_kube_has_finalizer(object, "a.example/"));
        assert_false(zp_kube_has_finalizer(NULL, "a.example/x"));
        json_decref(object);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(places_are_paths_that_nothing_can_leave),
                cmocka_unit_test(queries_are_escaped),
                cmocka_unit_test(metadata_is_never_missing),
                cmocka_unit_test(events_of_failure_are_failures),
                cmocka_unit_test(waits_grow_to_half_a_minute),
                cmocka_unit_test(finalizers_are_found_by_their_whole_name),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
