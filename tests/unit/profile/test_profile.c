/* SPDX-License-Identifier: Apache-2.0
 *
 * Profiles read, written, and asked for the entries of a path.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/limits.h"
#include "profile/profile.h"

static struct zp_profile *parse(const char *text) {
        struct zp_error err = { 0 };
        struct zp_profile *profile = zp_profile_new();
        if (zp_profile_parse(profile, text, strlen(text), "test.profile", &err) < 0)
                fail_msg("%s", err.message);
        return profile;
}

static void assert_formats_as(const struct zp_profile *profile, const char *want) {
        zp_autobuffer struct zp_buffer text = { 0 };
        assert_int_equal(zp_profile_format(profile, &text, NULL), 0);
        assert_string_equal(text.data ? text.data : "", want);
}

static void lines_are_entries_in_their_order(void **state) {
        (void) state;
        struct zp_profile *profile =
                parse("# a comment\n\n/usr/bin/python3\t4096\t8192\n/lib/x.so\n//odd/./last\t0\t1");
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        assert_int_equal(count, 3);
        assert_string_equal(entries[0].path, "usr/bin/python3");
        assert_int_equal(entries[0].offset, 4096);
        assert_int_equal(entries[0].length, 8192);
        assert_string_equal(entries[1].path, "lib/x.so");
        assert_true(entries[1].offset == 0 && entries[1].length == ZP_PROFILE_WHOLE);
        assert_string_equal(entries[2].path, "odd/last");
        assert_formats_as(profile, "/usr/bin/python3\t4096\t8192\n/lib/x.so\n/odd/last\t0\t1\n");
        zp_profile_free(profile);
}

static void odd_names_survive(void **state) {
        (void) state;
        const char *names[] = { "#hash", "tab\there", "new\nline", "back\\slash", "\x01\x7f\xff\xc3\xa4", " space " };
        struct zp_profile *profile = zp_profile_new();
        for (size_t i = 0; i < 6; i++)
                assert_int_equal(zp_profile_add(profile, names[i], i, 1 + i, NULL), 0);
        zp_autobuffer struct zp_buffer text = { 0 };
        assert_int_equal(zp_profile_format(profile, &text, NULL), 0);
        struct zp_profile *again = parse(text.data);
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(again, &count);
        assert_int_equal(count, 6);
        for (size_t i = 0; i < 6; i++) {
                assert_string_equal(entries[i].path, names[i]);
                assert_int_equal(entries[i].offset, i);
        }
        zp_profile_free(again);
        again = parse("/a\\tb\\n\\\\\\x2f\\x41\n");
        entries = zp_profile_entries(again, &count);
        assert_string_equal(entries[0].path, "a\tb\n\\/A");
        zp_profile_free(again);
        zp_profile_free(profile);
}

static void what_an_earlier_entry_holds_is_left_out(void **state) {
        (void) state;
        struct zp_profile *profile =
                parse("/a\t0\t100\n/a\t50\t50\n/a\t50\t51\n/b\t0\t100\n/b\n/b\n/b\t7\t7\n//a/./\t1\t2\n");
        assert_formats_as(profile, "/a\t0\t100\n/a\t50\t51\n/b\t0\t100\n/b\n");
        zp_profile_free(profile);
}

static void a_path_finds_all_its_entries(void **state) {
        (void) state;
        struct zp_profile *profile = zp_profile_new();
        char path[20];
        uint32_t count;
        for (unsigned i = 0; i < 3000; i++) {
                snprintf(path, sizeof path, "d/%u", i % 1000);
                assert_int_equal(zp_profile_add(profile, path, i * 10, 10, NULL), 0);
        }
        for (unsigned i = 0; i < 1000; i++) {
                snprintf(path, sizeof path, "d/%u", i);
                const uint32_t *numbers = zp_profile_find(profile, path, &count);
                assert_int_equal(count, 3);
                for (unsigned j = 0; j < 3; j++)
                        assert_int_equal(numbers[j], i + 1000 * j);
        }
        assert_null(zp_profile_find(profile, "d/1000", &count));
        assert_null(zp_profile_find(profile, "d", &count));
        zp_profile_free(profile);
}

static void mistakes_are_told_with_their_line(void **state) {
        (void) state;
        static const char *const wrong[] = {
                "/a\t1\n",
                "/a\t1\t\n",
                "/a\t\t1\n",
                "/a\t-1\t1\n",
                "/a\t1\t0\n",
                "/a\t1\t1 \n",
                "/a\t0x1\t1\n",
                "/a\t1\t1\t1\n",
                "/a\t1\t18446744073709551615\n",
                "/a\t18446744073709551615\t1\n",
                "/a\t99999999999999999999\t1\n",
                "/a\\q\n",
                "/a\\\n",
                "/a\\x0\n",
                "/a\\x00b\n",
                "/\n",
                "/..\n",
                "relative\n",
                "relative\t0\t1\n",
                "{\"json\": true}\n",
                "\x7f"
                "ELF\n",
                "/a\t8796093022208\t1\n",
        };
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct zp_error err = { 0 };
                struct zp_profile *profile = zp_profile_new();
                char text[200];
                snprintf(text, sizeof text, "# first\n/good\n%s", wrong[i]);
                assert_int_equal(zp_profile_parse(profile, text, strlen(text), "x.profile", &err), -EBADMSG);
                assert_ptr_equal(strstr(err.message, "x.profile:3: "), err.message);
                zp_profile_free(profile);
        }
        struct zp_profile *profile = zp_profile_new();
        char nul[] = "/a\0b\n";
        assert_int_equal(zp_profile_parse(profile, nul, 5, "x", NULL), -EBADMSG);
        char *deep = malloc(ZP_LIMIT_PATH + 1);
        memset(deep, 'a', ZP_LIMIT_PATH + 1);
        deep[0] = '/';
        assert_int_equal(zp_profile_parse(profile, deep, ZP_LIMIT_PATH + 1, "x", NULL), -EBADMSG);
        free(deep);
        zp_profile_free(profile);
}

static void the_digest_is_that_of_the_text_without_comments(void **state) {
        (void) state;
        struct zp_profile *one = parse("# recorded today\n/a\t0\t4\n/a\t1\t2\n"), *other = parse("/a\t00\t4");
        struct zp_digest a, b, c;
        assert_int_equal(zp_profile_digest(one, &a, NULL), 0);
        assert_int_equal(zp_profile_digest(other, &b, NULL), 0);
        zp_digest_of("/a\t0\t4\n", 7, &c);
        assert_true(zp_digest_equal(&a, &b));
        assert_true(zp_digest_equal(&a, &c));
        zp_profile_free(one);
        zp_profile_free(other);
}

static void entries_are_bounded(void **state) {
        (void) state;
        struct zp_profile *profile = zp_profile_new();
        char path[20];
        for (unsigned i = 0; i < ZP_LIMIT_PROFILE_ENTRIES; i++) {
                snprintf(path, sizeof path, "%u", i);
                assert_int_equal(zp_profile_add(profile, path, 0, 1, NULL), 0);
        }
        assert_int_equal(zp_profile_add(profile, "more", 0, 1, NULL), -E2BIG);
        zp_profile_free(profile);
}

/* Against trying all entries. */
static void held_is_what_one_earlier_entry_holds(void **state) {
        (void) state;
        srand(2);
        for (int round = 0; round < 50; round++) {
                struct zp_profile *profile = zp_profile_new();
                uint32_t before, count;
                for (int i = 0; i < 200; i++) {
                        uint64_t offset = (uint64_t) (rand() % 1000), length = 1 + (uint64_t) (rand() % 300);
                        const struct zp_profile_entry *entries = zp_profile_entries(profile, &before);
                        bool is_held = false;
                        for (uint32_t j = 0; j < before; j++)
                                is_held |= entries[j].offset <= offset &&
                                           entries[j].offset + entries[j].length >= offset + length;
                        assert_int_equal(zp_profile_add(profile, "f", offset, length, NULL), 0);
                        zp_profile_entries(profile, &count);
                        assert_int_equal(count, before + !is_held);
                }
                zp_profile_free(profile);
        }
}

/* Trying each against all would take 17 thousand million comparisons. */
static void as_many_of_one_file_as_there_may_be_are_taken_at_once(void **state) {
        (void) state;
        struct zp_profile *profile = zp_profile_new();
        uint32_t count;
        for (int again = 0; again < 2; again++)
                for (uint64_t i = 0; i < ZP_LIMIT_PROFILE_ENTRIES; i++) {
                        uint64_t at = i * 40503 % ZP_LIMIT_PROFILE_ENTRIES; /* odd: each once */
                        assert_int_equal(zp_profile_add(profile, "f", at * 4096, 5000, NULL), 0);
                }
        zp_profile_entries(profile, &count);
        assert_int_equal(count, ZP_LIMIT_PROFILE_ENTRIES);
        zp_profile_free(profile);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_are_entries_in_their_order),
                cmocka_unit_test(odd_names_survive),
                cmocka_unit_test(what_an_earlier_entry_holds_is_left_out),
                cmocka_unit_test(a_path_finds_all_its_entries),
                cmocka_unit_test(mistakes_are_told_with_their_line),
                cmocka_unit_test(the_digest_is_that_of_the_text_without_comments),
                cmocka_unit_test(entries_are_bounded),
                cmocka_unit_test(held_is_what_one_earlier_entry_holds),
                cmocka_unit_test(as_many_of_one_file_as_there_may_be_are_taken_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
