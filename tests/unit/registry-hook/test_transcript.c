/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "oci/json.h"
#include "registry-hook/queue.h"
#include "registry-hook/transcript.h"

static void add(struct hook_transcript *t, const char *text) {
        bool ignored;
        assert_true(hook_transcript_add(t, text, strlen(text), &ignored));
}

static void the_last_whole_line_is_known_however_it_arrives(void **state) {
        (void) state;
        struct hook_transcript t = { 0 };
        bool is_new;
        assert_true(hook_transcript_add(&t, "fir", 3, &is_new));
        assert_false(is_new);
        assert_true(hook_transcript_add(&t, "st\nsec", 6, &is_new));
        assert_true(is_new);
        assert_string_equal(t.line, "first");
        assert_true(hook_transcript_add(&t, "ond", 3, &is_new));
        assert_false(is_new);
        add(&t, "\n");
        assert_string_equal(t.line, "second");
        assert_string_equal(t.text.data, "first\nsecond\n");
        hook_transcript_clear(&t);
}

static void a_flood_leaves_its_beginning_and_its_end(void **state) {
        (void) state;
        struct hook_transcript t = { 0 };
        add(&t, "the beginning\n");
        for (int i = 0; i < 200000; i++) {
                char line[64];
                snprintf(line, sizeof line, "line %d\n", i);
                add(&t, line);
                assert_true(t.text.size <= QUEUE_LOG_MAX);
        }
        assert_int_equal(strncmp(t.text.data, "the beginning\n", 14), 0);
        assert_non_null(strstr(t.text.data, "\nline 199998\nline 199999\n"));
        const char *mark = strstr(t.text.data, "[…]\n");
        assert_non_null(mark);
        assert_null(strstr(mark + 1, "[…]\n"));
        assert_int_equal(strlen(t.text.data), t.text.size);
        assert_string_equal(t.line, "line 199999");
        hook_transcript_clear(&t);
}

static void one_endless_line_is_bounded_too(void **state) {
        (void) state;
        struct hook_transcript t = { 0 };
        char piece[50000];
        bool ignored;
        memset(piece, 'x', sizeof piece);
        for (int i = 0; i < 50; i++) {
                assert_true(hook_transcript_add(&t, piece, sizeof piece, &ignored));
                assert_true(t.text.size <= QUEUE_LOG_MAX);
        }
        hook_transcript_clear(&t);
}

static void control_characters_do_no_harm_and_json_takes_any_bytes(void **state) {
        (void) state;
        struct hook_transcript t = { 0 };
        add(&t, "\033[31mred\r\n\xff\n");
        assert_string_equal(t.text.data, "?[31mred?\n\xff\n");
        zp_auto(json_decref) json_t *json = hook_json_text(t.text.data);
        assert_string_equal(json_string_value(json), "?[31mred?\n?\n");
        hook_transcript_clear(&t);
        zp_auto(json_decref) json_t *cut = hook_json_text("grün und gr\xc3");
        assert_string_equal(json_string_value(cut), "grün und gr?");
}

static void the_reason_is_the_last_error_or_the_last_line(void **state) {
        (void) state;
        struct hook_transcript t = { 0 };
        char reason[64];
        hook_transcript_reason(&t, reason, sizeof reason);
        assert_string_equal(reason, "it said nothing");
        add(&t, "layer 1\nlayer 2\n");
        hook_transcript_reason(&t, reason, sizeof reason);
        assert_string_equal(reason, "layer 2");
        add(&t, "zeropull: first\nzeropull: second\n  hint: do this\n");
        hook_transcript_reason(&t, reason, sizeof reason);
        assert_string_equal(reason, "second");
        add(&t, "zeropull: \n"); /* which says nothing */
        hook_transcript_reason(&t, reason, sizeof reason);
        assert_string_equal(reason, "second");
        hook_transcript_clear(&t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_last_whole_line_is_known_however_it_arrives),
                cmocka_unit_test(a_flood_leaves_its_beginning_and_its_end),
                cmocka_unit_test(one_endless_line_is_bounded_too),
                cmocka_unit_test(control_characters_do_no_harm_and_json_takes_any_bytes),
                cmocka_unit_test(the_reason_is_the_last_error_or_the_last_line),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
