/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "controller/family.h"

static struct ctl_usage *usage;
static struct ctl_cluster cluster;
static struct ctl_family family;

static json_t *load(const char *text) {
        json_error_t why;
        json_t *json = json_loads(text, 0, &why);
        if (!json)
                fail_msg("%s: %s", text, why.text);
        return json;
}

static int begin(void **state) {
        (void) state;
        json_t *json =
                load("{\"metadata\": {\"name\": \"all\", \"uid\": \"u\"}, \"spec\": {\"namespaces\": [\"team-*\"],"
                     " \"repositories\": [\"r.io/**\"]}}");
        family = (struct ctl_family){ 0 };
        int r = ctl_cluster_parse(json, &cluster, NULL);
        json_decref(json);
        return r == 0 ? ctl_usage_new(&usage, NULL) : r;
}

static int end(void **state) {
        (void) state;
        ctl_family_clear(&family);
        ctl_cluster_clear(&cluster);
        ctl_usage_free(usage);
        return 0;
}

/* `more`: ", \"x\": …" of the pod's spec. */
static void pod(const char *namespace, const char *name, const char *image, const char *more) {
        char text[1024], key[CTL_KEY_SIZE];
        snprintf(text, sizeof text,
                 "{\"metadata\": {\"namespace\": \"%s\", \"name\": \"%s\"}, \"spec\": {\"containers\": [{\"image\": "
                 "\"%s\"}]%s}}",
                 namespace, name, image, more);
        json_t *json = load(text);
        assert_int_equal(ctl_usage_put(usage, ctl_key(namespace, name, key), json, NULL), 1);
        assert_int_equal(ctl_usage_put(usage, key, json, NULL), 0);
        json_decref(json);
}

static void each_image_of_a_namespace_has_one_whatever_the_number_of_its_pods(void **state) {
        (void) state;
        pod("team-a", "1", "r.io/x:1", ", \"serviceAccountName\": \"first\"");
        pod("team-a", "2", "r.io/x:1", ", \"serviceAccountName\": \"second\"");
        pod("team-a", "3", "r.io/y:1", "");
        pod("team-b", "1", "r.io/x:1", "");
        pod("other", "1", "r.io/x:1", "");
        pod("team-b", "2", "q.io/x:1", "");
        assert_true(ctl_family_gather(&family, &cluster, usage));
        assert_int_equal(family.count, 3);
        assert_string_equal(family.children[0]->service_account, "first");
        assert_string_equal(family.children[1]->image, "r.io/y:1");
        assert_string_equal(family.children[2]->namespace, "team-b");
        for (size_t i = 0; i < family.count; i++)
                assert_true(ctl_family_has(&family, family.children[i]->key));
        assert_string_equal(family.children[0]->name, family.children[2]->name); /* of the same image */
        assert_false(ctl_family_has(&family, "team-a/all-0123456789"));
}

static void secrets_that_no_object_can_have_and_repeated_ones_are_left_out(void **state) {
        (void) state;
        pod("team-a", "1", "r.io/x:1",
            ", \"imagePullSecrets\": [{\"name\": \"a\"}, {\"name\": \"a\"}, {\"name\": \"A\"}, {\"name\": \"-b\"},"
            " {\"name\": \"b.\"}, {}, {\"name\": \"c.d\"}]");
        assert_true(ctl_family_gather(&family, &cluster, usage));
        json_t *wanted = load("[{\"name\": \"a\"}, {\"name\": \"c.d\"}]");
        assert_true(json_equal(family.children[0]->secrets, wanted));
        json_decref(wanted);
}

static void no_object_makes_more_than_it_may(void **state) {
        (void) state;
        for (int i = 0; i <= CTL_CHILDREN_MAX; i++) {
                char name[32], image[32];
                snprintf(name, sizeof name, "%d", i);
                snprintf(image, sizeof image, "r.io/x:%d", i);
                pod("team-a", name, image, "");
        }
        assert_true(ctl_family_gather(&family, &cluster, usage));
        assert_int_equal(family.count, CTL_CHILDREN_MAX);
        assert_true(family.is_too_large);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(each_image_of_a_namespace_has_one_whatever_the_number_of_its_pods,
                                                begin, end),
                cmocka_unit_test_setup_teardown(secrets_that_no_object_can_have_and_repeated_ones_are_left_out, begin,
                                                end),
                cmocka_unit_test_setup_teardown(no_object_makes_more_than_it_may, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
