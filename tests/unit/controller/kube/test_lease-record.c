/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/kube/kube-internal.h"
#include "controller/kube/lease-record.h"

static json_t *lease(const char *spec) {
        char *text = zp_format("{\"metadata\":{\"resourceVersion\":\"7\"},\"spec\":%s}", spec);
        json_t *object = json_loads(text, 0, NULL);
        assert_non_null(object);
        free(text);
        return object;
}

static void expect(const char *spec, const char *holder, unsigned duration_s, int64_t transitions) {
        json_t *object = lease(spec);
        struct zp_kube_lease_record record;
        zp_kube_lease_read(object, 15, &record);
        assert_string_equal(record.holder, holder);
        assert_int_equal(record.duration_s, duration_s);
        assert_int_equal(record.transitions, transitions);
        json_decref(object);
}

static void records_are_read_within_bounds(void **state) {
        (void) state;
        expect("{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":30,\"leaseTransitions\":4}", "a", 30, 4);
        expect("{}", "", 15, 0);
        expect("null", "", 15, 0);
        expect("{\"holderIdentity\":7,\"leaseDurationSeconds\":\"x\",\"leaseTransitions\":-1}", "", 15, 0);
        expect("{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":0}", "a", 15, 0);
        expect("{\"holderIdentity\":\"a\",\"leaseDurationSeconds\":1000000}", "a", 15, 0);
        expect("{\"holderIdentity\":\"a\",\"leaseTransitions\":9223372036854775807}", "a", 15, 0);
}

static json_t *next(json_t *before, const char *identity) {
        struct zp_kube_lease_record record = { 0 };
        if (before)
                zp_kube_lease_read(before, 15, &record);
        json_t *made = zp_kube_lease_make(before, before ? &record : NULL, "ns", "name", identity, 15);
        assert_non_null(made);
        return made;
}

static const char *text(json_t *object, const char *key) {
        return json_string_value(json_object_get(json_object_get(object, "spec"), key));
}

static int64_t transitions(json_t *object) {
        return json_integer_value(json_object_get(json_object_get(object, "spec"), "leaseTransitions"));
}

static void renewing_keeps_the_time_of_acquiring_and_taking_over_counts(void **state) {
        (void) state;
        json_t *held = lease(
                "{\"holderIdentity\":\"a\",\"acquireTime\":\"2020-01-01T00:00:00.000000Z\",\"leaseTransitions\":2}");
        json_t *renewed = next(held, "a"), *taken = next(held, "b"), *first = next(NULL, "a");
        assert_string_equal(text(renewed, "acquireTime"), "2020-01-01T00:00:00.000000Z");
        assert_int_equal(transitions(renewed), 2);
        assert_string_equal(zp_kube_resource_version(renewed), "7");
        assert_string_not_equal(text(taken, "acquireTime"), "2020-01-01T00:00:00.000000Z");
        assert_string_equal(text(taken, "holderIdentity"), "b");
        assert_int_equal(transitions(taken), 3);
        assert_int_equal(transitions(first), 0);
        assert_string_equal(zp_kube_resource_version(first), "");
        json_decref(held);
        json_decref(renewed);
        json_decref(taken);
        json_decref(first);
}

/* https://github.com/kubernetes/apimachinery: MicroTime is RFC 3339 with six digits. */
static void times_have_microseconds(void **state) {
        (void) state;
        char time[KUBE_MICRO_TIME_SIZE];
        assert_int_equal(strlen(zp_kube_micro_time(time)), strlen("2026-01-02T03:04:05.000000Z"));
        assert_int_equal(time[19], '.');
        assert_int_equal(time[26], 'Z');
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(records_are_read_within_bounds),
                cmocka_unit_test(renewing_keeps_the_time_of_acquiring_and_taking_over_counts),
                cmocka_unit_test(times_have_microseconds),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
