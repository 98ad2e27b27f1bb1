/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "registry-hook/tasks.h"

#define LINE "{\"tasks\":[{\"label\":\"layer 1/2\",\"done\":5,\"total\":10}]}\n"

/* Gives `data` in pieces of `piece` bytes; what is text is appended. Returns how often there was news. */
static int give(struct hook_tasks *t, const char *data, size_t piece, struct zp_buffer *text) {
        int count = 0;
        for (size_t at = 0, size = strlen(data); at < size; at += piece) {
                size_t now = size - at < piece ? size - at : piece;
                char *in = malloc(now), *out = malloc(now + HOOK_TASKS_LINE);
                bool news;
                memcpy(in, data + at, now); /* exactly as large, so that a sanitizer sees what is read beyond */
                zp_buffer_append(text, out, hook_tasks_take(t, in, now, out, &news));
                count += news;
                free(in);
                free(out);
        }
        return count;
}

static void assert_tasks(const struct hook_tasks *t, const char *want) {
        char *text = json_dumps(t->tasks, JSON_COMPACT);
        assert_string_equal(text ? text : "none", want);
        free(text);
}

static void lines_of_tasks_are_taken_out_however_they_are_cut(void **state) {
        (void) state;
        for (size_t piece = 1; piece < 100; piece++) {
                struct hook_tasks t = { 0 };
                zp_autobuffer struct zp_buffer text = { 0 };
                assert_int_equal(give(&t, "one\n" LINE "\n{\"tas: no\ntwo " LINE LINE "{", piece, &text), 2);
                assert_string_equal(text.data, "one\n\n{\"tas: no\ntwo " LINE);
                assert_tasks(&t, "[{\"label\":\"layer 1/2\",\"done\":5,\"total\":10}]");
                hook_tasks_clear(&t);
        }
}

static void only_what_was_understood_is_kept(void **state) {
        (void) state;
        static const struct {
                const char *line, *want;
        } cases[] = {
                { "{\"tasks\":[]}\n", "[]" },
                { "{\"tasks\":{}}\n", "none" },
                { "{\"tasks\":[\n", "none" },
                { "{\"tasks\":[1,{\"label\":3,\"done\":1,\"total\":1},{\"label\":\"a\",\"done\":-1,\"total\":1},"
                  "{\"label\":\"a\",\"done\":1.5,\"total\":1},{\"label\":\"b\",\"done\":1,\"total\":0,\"x\":[]}]}\n",
                  "[{\"label\":\"b\",\"done\":1,\"total\":0}]" },
                { "{\"tasks\":[{\"label\":\"0123456789012345678901234567890123456789012345678901234567890123456789\","
                  "\"done\":1,\"total\":1}]}\n",
                  "[]" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct hook_tasks t = { 0 };
                zp_autobuffer struct zp_buffer text = { 0 };
                give(&t, cases[i].line, 7, &text);
                assert_int_equal(text.size, 0);
                assert_tasks(&t, cases[i].want);
                hook_tasks_clear(&t);
        }
}

static void many_tasks_and_long_lines_are_bounded(void **state) {
        (void) state;
        struct hook_tasks t = { 0 };
        zp_autobuffer struct zp_buffer text = { 0 }, line = { 0 };
        zp_buffer_text(&line, "{\"tasks\":[{\"label\":\"a\",\"done\":1,\"total\":1}");
        for (int i = 0; i < 100; i++)
                zp_buffer_text(&line, ",{\"label\":\"a\",\"done\":1,\"total\":1}");
        zp_buffer_text(&line, "]}\n");
        assert_int_equal(give(&t, line.data, 1000, &text), 1);
        assert_int_equal(json_array_size(t.tasks), HOOK_TASKS_MAX);
        zp_buffer_clear(&line);
        zp_buffer_text(&line, "{\"tasks\":[");
        for (int i = 0; i < 10000; i++)
                zp_buffer_text(&line, "    ");
        zp_buffer_text(&line, "]}\n");
        assert_int_equal(give(&t, line.data, 4096, &text), 0);
        assert_int_equal(text.size, 0);
        assert_int_equal(give(&t, LINE "after\n", 4096, &text), 1);
        assert_string_equal(text.data, "after\n");
        hook_tasks_clear(&t);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(lines_of_tasks_are_taken_out_however_they_are_cut),
                cmocka_unit_test(only_what_was_understood_is_kept),
                cmocka_unit_test(many_tasks_and_long_lines_are_bounded),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
