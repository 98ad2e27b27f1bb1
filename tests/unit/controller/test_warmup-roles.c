/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/warmup-roles.h"
#include "oci/json.h"

static json_t *known, *objects, *due;
static int64_t now;

static int begin(void **state) {
        (void) state;
        known = json_object();
        objects = json_object();
        now = 1000;
        return 0;
}

static int end(void **state) {
        (void) state;
        json_decref(known);
        json_decref(objects);
        json_decref(due);
        due = NULL;
        return 0;
}

/* `secret` NULL: it names none. */
static void put(const char *uid, const char *secret) {
        json_t *secrets = secret ? json_pack("[{s:s, s:s}]", "namespace", "ns", "name", secret) : json_array();
        json_object_set_new(objects, "ns/web",
                            json_pack("{s:s, s:s, s:s, s:s, s:o}", "kind", "ImageSnapshot", "namespace", "ns", "name",
                                      "web", "uid", uid, "secrets", secrets));
}

static void look(size_t count) {
        json_decref(due);
        due = NULL;
        assert_int_equal(warmup_roles_due(known, objects, now, &due, NULL), 0);
        assert_int_equal(json_object_size(due), count);
}

/* The name of the one secret of a Role that is due; "": of none. */
static const char *secret_of(const char *uid) {
        json_t *role = json_object_get(due, uid);
        assert_non_null(role);
        assert_string_equal(json_string_value(json_object_get(role, "name")), "web");
        const char *name =
                json_string_value(json_object_get(json_array_get(json_object_get(role, "secrets"), 0), "name"));
        return name ? name : "";
}

static bool done(const char *uid, int result) {
        json_t *role = json_object_get(due, uid);
        assert_non_null(role);
        return warmup_roles_done(known, role, result, now);
}

static void a_role_is_written_once_and_again_for_other_secrets(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        assert_string_equal(secret_of("u1"), "one");
        assert_false(done("u1", 0));
        look(0);
        put("u1", "two");
        look(1);
        assert_string_equal(secret_of("u1"), "two");
}

static void an_object_made_anew_under_its_name_gets_a_role_of_its_own(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        done("u1", 0);
        put("u2", "one");
        look(2);
        assert_string_equal(secret_of("u2"), "one");
        assert_string_equal(secret_of("u1"), "");
}

static void what_failed_is_tried_again(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        assert_true(done("u1", -EAGAIN));
        look(1);
        assert_string_equal(secret_of("u1"), "one");
        assert_false(done("u1", 0));
        look(0);
}

static void what_is_forbidden_waits_ever_longer_and_is_tried_again(void **state) {
        static const int64_t pauses[] = { 30, 60, 120, 240, 300, 300 };
        (void) state;
        put("u1", "one");
        assert_int_equal(warmup_roles_next(known), 0);
        for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
                look(1);
                assert_false(done("u1", -EPERM));
                assert_int_equal(warmup_roles_next(known), now + pauses[i]);
                now += pauses[i] - 1;
                look(0);
                now++;
        }
        look(1);
        assert_false(done("u1", 0));
        assert_int_equal(warmup_roles_next(known), 0);
        look(0);
}

static void what_may_not_be_taken_back_waits_as_well(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        done("u1", 0);
        put("u1", NULL);
        look(1);
        assert_false(done("u1", -EPERM));
        look(0);
        now += 30;
        look(1);
        assert_string_equal(secret_of("u1"), "");
}

static void a_change_that_failed_may_have_been_made(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        done("u1", 0);
        put("u1", "two");
        look(1);
        assert_true(done("u1", -ETIMEDOUT));
        put("u1", "one");
        look(1);
        assert_string_equal(secret_of("u1"), "one");
}

static void without_secrets_the_role_loses_its_rights_once(void **state) {
        (void) state;
        put("u1", NULL);
        look(0); /* it never had one */
        put("u1", "one");
        look(1);
        done("u1", 0);
        put("u1", NULL);
        look(1);
        assert_string_equal(secret_of("u1"), "");
        assert_true(done("u1", -EAGAIN));
        look(1);
        assert_string_equal(secret_of("u1"), "");
        assert_false(done("u1", 0));
        look(0);
}

static void without_warm_up_the_role_loses_its_rights(void **state) {
        (void) state;
        put("u1", "one");
        look(1);
        done("u1", 0);
        json_object_clear(objects);
        look(1);
        assert_string_equal(secret_of("u1"), "");
        assert_false(done("u1", 0));
        look(0);
}

/* A Role as an earlier leader has left it; `secret` NULL: without rights. */
static void find(const char *name, const char *uid, const char *secret) {
        json_t *rules = secret ? json_pack("[{s:[s], s:[s], s:[s], s:[s]}]", "apiGroups", "", "resources", "secrets",
                                           "resourceNames", secret, "verbs", "get")
                               : json_array();
        json_t *role =
                json_pack("{s:{s:s, s:s, s:[{s:s, s:s, s:s}]}, s:o}", "metadata", "name", name, "namespace", "ns",
                          "ownerReferences", "kind", "ImageSnapshot", "name", "web", "uid", uid, "rules", rules);
        assert_true(warmup_roles_found(known, role));
        json_decref(role);
}

static void what_an_earlier_leader_left_is_taken_back_when_nobody_wants_it_any_more(void **state) {
        (void) state;
        find("zeropull-warmup-u1", "u1", "one");
        find("zeropull-warmup-u2", "u2", NULL);  /* has been */
        find("zeropull-warmup-u3", "u4", "one"); /* not ours */
        find("of-somebody", "u5", "one");
        look(1);
        assert_string_equal(secret_of("u1"), "");
        assert_string_equal(json_string_value(json_object_get(json_object_get(due, "u1"), "namespace")), "ns");
        assert_false(done("u1", 0));
        look(0);
}

static void what_an_earlier_leader_wrote_is_written_again_while_it_is_wanted(void **state) {
        (void) state;
        find("zeropull-warmup-u1", "u1", "old");
        put("u1", "one");
        look(1);
        assert_string_equal(secret_of("u1"), "one");
        assert_false(done("u1", 0));
        look(0);
}

static void a_role_without_an_owner_is_nobodys(void **state) {
        (void) state;
        json_t *role = json_pack("{s:{s:s, s:s}, s:[{s:[s]}]}", "metadata", "name", "zeropull-warmup-", "namespace",
                                 "ns", "rules", "resourceNames", "x");
        assert_true(warmup_roles_found(known, role));
        json_decref(role);
        look(0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_role_is_written_once_and_again_for_other_secrets, begin, end),
                cmocka_unit_test_setup_teardown(an_object_made_anew_under_its_name_gets_a_role_of_its_own, begin, end),
                cmocka_unit_test_setup_teardown(what_failed_is_tried_again, begin, end),
                cmocka_unit_test_setup_teardown(what_is_forbidden_waits_ever_longer_and_is_tried_again, begin, end),
                cmocka_unit_test_setup_teardown(what_may_not_be_taken_back_waits_as_well, begin, end),
                cmocka_unit_test_setup_teardown(a_change_that_failed_may_have_been_made, begin, end),
                cmocka_unit_test_setup_teardown(without_secrets_the_role_loses_its_rights_once, begin, end),
                cmocka_unit_test_setup_teardown(without_warm_up_the_role_loses_its_rights, begin, end),
                cmocka_unit_test_setup_teardown(what_an_earlier_leader_left_is_taken_back_when_nobody_wants_it_any_more,
                                                begin, end),
                cmocka_unit_test_setup_teardown(what_an_earlier_leader_wrote_is_written_again_while_it_is_wanted, begin,
                                                end),
                cmocka_unit_test_setup_teardown(a_role_without_an_owner_is_nobodys, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
