/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>

#include <cmocka.h>

#include "controller/node/bound.h"
#include "oci/json.h"

static struct node_bound *bound;
static struct zp_error err;

static int begin(void **state) {
        (void) state;
        err = (struct zp_error){ 0 };
        return node_bound_new(&bound, &err);
}

static int end(void **state) {
        (void) state;
        node_bound_free(bound);
        return 0;
}

/* `lists`: a pod's containers, as JSON. */
static void put(const char *uid, const char *namespace, const char *phase, const char *lists) {
        json_error_t error;
        zp_auto(json_decref) json_t *spec = json_loads(lists, 0, &error);
        zp_auto(json_decref) json_t *pod =
                json_pack("{s:{s:s, s:s, s:s}, s:O, s:{s:s}}", "metadata", "uid", uid, "name", uid, "namespace",
                          namespace, "spec", spec, "status", "phase", phase);
        assert_non_null(pod);
        assert_int_equal(node_bound_put(bound, pod, &err), 0);
}

static void expect(const char *image, const char *expected) {
        json_error_t error;
        zp_auto(json_decref) json_t *found = NULL, *wanted = json_loads(expected, 0, &error);
        assert_int_equal(node_bound_find(bound, image, 0, &found, &err), 0);
        zp_autofree char *text = json_dumps(found, JSON_COMPACT);
        if (!json_equal(found, wanted))
                fail_msg("%s", text);
}

static void every_container_of_a_pod_names_its_image_as_containerd_does(void **state) {
        (void) state;
        put("u1", "a", "Pending",
            "{\"containers\": [{\"image\": \"busybox\"}], \"initContainers\": [{\"image\": \"r.example/i:1\"}],"
            " \"ephemeralContainers\": [{\"image\": \"r.example/e:2@sha256:"
            "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}],"
            " \"imagePullSecrets\": [{\"name\": \"s\"}]}");
        const char *secrets = "[[{\"namespace\": \"a\", \"name\": \"s\"}]]";
        expect("docker.io/library/busybox:latest", secrets);
        expect("r.example/i:1", secrets);
        expect("r.example/e@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", secrets);
        expect("r.example/i:2", "[]");
}

static void pods_that_ended_or_are_gone_pull_nothing(void **state) {
        (void) state;
        const char *spec = "{\"containers\": [{\"image\": \"r.example/i:1\"}]}";
        put("u1", "a", "Running", spec);
        expect("r.example/i:1", "[[]]");
        put("u1", "a", "Succeeded", spec);
        expect("r.example/i:1", "[]");
        put("u2", "a", "Pending", spec);
        node_bound_drop(bound, "u2");
        expect("r.example/i:1", "[]");
}

static void the_same_secrets_count_once_and_another_namespaces_are_others(void **state) {
        (void) state;
        const char *spec =
                "{\"containers\": [{\"image\": \"r.example/i:1\"}], \"imagePullSecrets\": [{\"name\": \"s\"}]}";
        put("u1", "a", "Running", spec);
        put("u2", "a", "Pending", spec);
        expect("r.example/i:1", "[[{\"namespace\": \"a\", \"name\": \"s\"}]]");
        put("u3", "b", "Pending", spec);
        zp_auto(json_decref) json_t *found = NULL;
        assert_int_equal(node_bound_find(bound, "r.example/i:1", 0, &found, &err), 0);
        assert_int_equal(json_array_size(found), 2);
}

static void what_is_no_reference_is_passed_over(void **state) {
        (void) state;
        put("u1", "a", "Pending", "{\"containers\": [{\"image\": \"A B\"}, {}, {\"image\": \"r.example/i:1\"}]}");
        expect("r.example/i:1", "[[]]");
}

static void *put_later(void *context) {
        (void) context;
        put("late", "a", "Pending", "{\"containers\": [{\"image\": \"r.example/late:1\"}]}");
        return NULL;
}

static void a_pod_that_comes_a_little_later_is_waited_for(void **state) {
        (void) state;
        pthread_t thread;
        zp_auto(json_decref) json_t *found = NULL;
        assert_int_equal(pthread_create(&thread, NULL, put_later, NULL), 0);
        assert_int_equal(node_bound_find(bound, "r.example/late:1", 60000, &found, &err), 0);
        pthread_join(thread, NULL);
        assert_int_equal(json_array_size(found), 1);
}

static void *list_later(void *context) {
        node_bound_synced(context);
        return NULL;
}

static void before_the_pods_have_been_listed_nobody_can_say_who_names_an_image(void **state) {
        (void) state;
        pthread_t thread;
        put("u1", "a", "Pending", "{\"containers\": [{\"image\": \"r.example/i:1\"}]}");
        assert_int_equal(node_bound_await(bound, 10, &err), -EAGAIN);
        assert_int_equal(pthread_create(&thread, NULL, list_later, bound), 0);
        assert_int_equal(node_bound_await(bound, 60000, &err), 0);
        pthread_join(thread, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(every_container_of_a_pod_names_its_image_as_containerd_does, begin,
                                                end),
                cmocka_unit_test_setup_teardown(pods_that_ended_or_are_gone_pull_nothing, begin, end),
                cmocka_unit_test_setup_teardown(the_same_secrets_count_once_and_another_namespaces_are_others, begin,
                                                end),
                cmocka_unit_test_setup_teardown(what_is_no_reference_is_passed_over, begin, end),
                cmocka_unit_test_setup_teardown(a_pod_that_comes_a_little_later_is_waited_for, begin, end),
                cmocka_unit_test_setup_teardown(before_the_pods_have_been_listed_nobody_can_say_who_names_an_image,
                                                begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
