/* SPDX-License-Identifier: Apache-2.0
 *
 * Who pulls an image at a moment, and what is remembered of those who were confirmed.
 */
#include "../control/support.h"

#include "base/buffer.h"
#include "snapshotter/keychain/keychain.h"

static struct snap_keychain *keychain;
static struct snap_puller *pullers;
static size_t count;

static int begin_test(void **state) {
        return setup(state) == 0 ? snap_keychain_new(&keychain, &err) : -1;
}

static int end_test(void **state) {
        snap_keychain_free(keychain);
        return teardown(state);
}

static struct zp_credentials user(const char *name, const char *password) {
        return (struct zp_credentials){ .username = name ? strdup(name) : NULL,
                                        .password = password ? strdup(password) : NULL };
}

static uint64_t begin(const char *reference, const char *name, const char *password) {
        struct zp_credentials credentials = user(name, password);
        uint64_t number = 0;
        assert_ok(snap_keychain_begin(keychain, reference, &credentials, &number, &err));
        assert_true(zp_credentials_are_empty(&credentials) && number != 0);
        return number;
}

static size_t count_pullers(const char *reference) {
        assert_ok(snap_keychain_pullers(keychain, reference, &pullers, &count, &err));
        size_t found = count;
        snap_pullers_free(pullers, count);
        return found;
}

static void a_pull_is_known_from_its_beginning_to_its_end(void **state) {
        (void) state;
        assert_int_equal(count_pullers("r.example/a:1"), 0);
        uint64_t number = begin("r.example/a:1", "u", "p");
        assert_ok(snap_keychain_pullers(keychain, "r.example/a:1", &pullers, &count, &err));
        assert_int_equal(count, 1);
        assert_string_equal(pullers[0].credentials.username, "u");
        assert_string_equal(pullers[0].credentials.password, "p");
        snap_pullers_free(pullers, count);
        assert_int_equal(count_pullers("r.example/a:2"), 0);
        snap_keychain_end(keychain, number, false);
        assert_int_equal(count_pullers("r.example/a:1"), 0);
}

static void a_pull_that_is_cut_counts_a_while_longer(void **state) {
        (void) state;
        snap_keychain_end(keychain, begin("r.example/a:1", "u", "p"), true);
        assert_int_equal(count_pullers("r.example/a:1"), 1);
}

static void a_reference_is_the_same_in_all_its_forms(void **state) {
        static const char digest[] = "@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        (void) state;
        begin("busybox", "u", "p");
        assert_int_equal(count_pullers("docker.io/library/busybox:latest"), 1);
        char *with_tag = zp_format("r.example/a:1%s", digest), *without = zp_format("r.example/a%s", digest);
        begin(with_tag, "u", "p");
        assert_int_equal(count_pullers(without), 1);
        free(with_tag);
        free(without);
        struct zp_credentials credentials = user("u", "p");
        uint64_t number;
        assert_int_equal(snap_keychain_begin(keychain, "UPPER/../x", &credentials, &number, &err), -EINVAL);
        assert_true(zp_credentials_are_empty(&credentials));
}

static void pullers_differ_by_all_that_they_show(void **state) {
        (void) state;
        begin("r.example/a:1", "u", "p");
        uint64_t again = begin("r.example/a:1", "u", "p");
        assert_int_equal(count_pullers("r.example/a:1"), 1);
        begin("r.example/a:1", "u", "q");
        begin("r.example/a:1", NULL, NULL);
        begin("r.example/a:1", "up", "");
        assert_int_equal(count_pullers("r.example/a:1"), 4);
        snap_keychain_end(keychain, again, false);
        assert_int_equal(count_pullers("r.example/a:1"), 4);
}

static void remember(const char *repository, const char *name) {
        struct zp_credentials credentials = user(name, "p");
        snap_keychain_remember(keychain, "r.example", repository, &credentials);
        zp_credentials_clear(&credentials);
}

static bool recalls(const char *repository, const char *name) {
        struct zp_credentials found = { 0 };
        int r = snap_keychain_recall(keychain, "r.example", repository, &found, &err);
        assert_ok(r);
        bool is = r == 1 && strcmp(found.username, name) == 0 && strcmp(found.password, "p") == 0;
        zp_credentials_clear(&found);
        return is;
}

static void the_last_confirmed_are_remembered_for_their_repository(void **state) {
        (void) state;
        remember("a", "u");
        remember("b", "v");
        assert_true(recalls("a", "u") && recalls("b", "v"));
        remember("a", "w");
        assert_true(recalls("a", "w"));
        assert_false(recalls("a/b", "w"));
}

static void memory_is_bounded(void **state) {
        char name[16];
        (void) state;
        for (int i = 0; i <= SNAP_KEYCHAIN_MEMORY + 10; i++) {
                snprintf(name, sizeof name, "r%d", i);
                remember(name, "u");
        }
        assert_true(recalls(name, "u"));
        size_t kept = 0;
        for (int i = 0; i <= SNAP_KEYCHAIN_MEMORY + 10; i++) {
                snprintf(name, sizeof name, "r%d", i);
                kept += recalls(name, "u");
        }
        assert_int_equal(kept, SNAP_KEYCHAIN_MEMORY);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_pull_is_known_from_its_beginning_to_its_end, begin_test, end_test),
                cmocka_unit_test_setup_teardown(a_pull_that_is_cut_counts_a_while_longer, begin_test, end_test),
                cmocka_unit_test_setup_teardown(a_reference_is_the_same_in_all_its_forms, begin_test, end_test),
                cmocka_unit_test_setup_teardown(pullers_differ_by_all_that_they_show, begin_test, end_test),
                cmocka_unit_test_setup_teardown(the_last_confirmed_are_remembered_for_their_repository, begin_test,
                                                end_test),
                cmocka_unit_test_setup_teardown(memory_is_bounded, begin_test, end_test),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
