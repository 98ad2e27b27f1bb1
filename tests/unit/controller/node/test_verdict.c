/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/node/verdict.h"
#include "oci/json.h"

static const char pod_text[] = "{\"metadata\": {\"namespace\": \"ns\", \"name\": \"p\", \"uid\": \"u\", "
                               "\"annotations\": {\"zeropull.dev/acceleration\": "
                               "\"required\"}}, \"status\": {\"initContainerStatuses\": [{\"name\": \"init\", "
                               "\"image\": \"i:1\", \"containerID\": "
                               "\"containerd://aa\", \"state\": {\"terminated\": {\"startedAt\": "
                               "\"2026-01-01T00:00:05Z\"}}}], \"containerStatuses\": "
                               "[{\"name\": \"old\", \"image\": \"o:1\", \"containerID\": \"containerd://bb\", "
                               "\"state\": {\"running\": {\"startedAt\": "
                               "\"2025-12-31T23:59:59Z\"}}}, {\"name\": \"c\", \"image\": \"c:1\", \"containerID\": "
                               "\"containerd://cc\", \"state\": "
                               "{\"running\": {\"startedAt\": \"2026-01-01T00:00:06Z\"}}}, {\"name\": \"waits\", "
                               "\"image\": \"w:1\", \"state\": "
                               "{\"waiting\": {\"reason\": \"ImagePullBackOff\"}}}]}}";

static const char status_text[] = "{\"containers\": [{\"key\": \"k8s.io/7/aa\", \"accelerated\": true, \"layers\": 2, "
                                  "\"ofLayers\": 3}, {\"key\": "
                                  "\"k8s.io/9/cc\", \"accelerated\": false, \"reason\": \"no snapshot\"}, {\"key\": "
                                  "\"k8s.io/9/xcc\", \"accelerated\": "
                                  "true}]}";

static json_t *parse(const char *text) {
        json_t *json = json_loads(text, 0, NULL);
        assert_non_null(json);
        return json;
}

static void containers_that_began_since_are_found_once(void **state) {
        (void) state;
        zp_auto(json_decref) json_t *pod = parse(pod_text), *known = json_object(), *out = json_object();
        assert_int_equal(node_containers_add(pod, "2026-01-01T00:00:00Z", known, out, NULL), 0);
        assert_int_equal(json_object_size(out), 2);
        json_t *container = json_object_get(out, "cc");
        assert_string_equal(json_string_value(json_object_get(container, "container")), "c");
        assert_string_equal(json_string_value(json_object_get(container, "pod")), "p");
        assert_true(json_is_true(json_object_get(container, "required")));
        json_object_clear(out);
        json_object_set_new(known, "cc", json_true());
        json_object_set_new(known, "of an earlier start", json_true());
        assert_int_equal(node_containers_add(pod, "2026-01-01T00:00:00Z", known, out, NULL), 0);
        assert_null(json_object_get(out, "cc"));
        assert_non_null(json_object_get(out, "aa"));
        assert_int_equal(json_object_size(known), 1);
}

static void a_container_is_known_by_its_id_alone(void **state) {
        (void) state;
        zp_auto(json_decref) json_t *pod = parse(pod_text), *known = json_object(), *out = json_object();
        zp_auto(json_decref) json_t *status = parse(status_text);
        char note[256];
        assert_int_equal(node_containers_add(pod, "", known, out, NULL), 0);
        assert_int_equal(node_judge(status, "aa", json_object_get(out, "aa"), note, sizeof note), NODE_ACCELERATED);
        assert_non_null(strstr(note, "2 of 3 layers"));
        assert_int_equal(node_judge(status, "cc", json_object_get(out, "cc"), note, sizeof note), NODE_NOT_ACCELERATED);
        assert_non_null(strstr(note, "no snapshot"));
        assert_int_equal(node_judge(status, "bb", json_object_get(out, "bb"), note, sizeof note), NODE_UNKNOWN);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(containers_that_began_since_are_found_once),
                cmocka_unit_test(a_container_is_known_by_its_id_alone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
