/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <getopt.h>

#include "base/options.h"

enum { CONFIG, QUIET, HELP, OPTIONS };
static const struct zp_option options[OPTIONS] = {
        [CONFIG] = { "config", "FILE", "where", 'c' },
        [QUIET] = { "quiet", NULL, "say nothing", 'q' },
        [HELP] = { "help", NULL, "show this" },
};
static const char *values[OPTIONS];

/* `words` up to a NULL. */
static int read_words(char **words, struct zp_error *err) {
        int count = 0;
        while (words[count])
                count++;
        optind = 0; /* getopt begins anew */
        return zp_options_read(options, OPTIONS, count, words, values, err);
}
#define READ(err, ...) read_words((char *[]){ (char *) "program", ##__VA_ARGS__, NULL }, err)

static void options_are_found_in_either_form_and_the_rest_is_left(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        assert_int_equal(READ(&err), 1);
        assert_null(values[CONFIG]);
        assert_null(values[QUIET]);
        assert_int_equal(READ(&err, "--config", "a", "-q", "build"), 4);
        assert_string_equal(values[CONFIG], "a");
        assert_string_equal(values[QUIET], "");
        assert_null(values[HELP]);
        assert_int_equal(READ(&err, "-cb", "--config=c", "--", "--quiet"), 4); /* the last one counts */
        assert_string_equal(values[CONFIG], "c");
        assert_null(values[QUIET]);
}

static void words_may_come_before_options(void **state) {
        (void) state;
        char *words[] = { (char *) "program", (char *) "run", (char *) "-q", (char *) "it", NULL };
        assert_int_equal(read_words(words, NULL), 2);
        assert_string_equal(values[QUIET], "");
        assert_string_equal(words[2], "run");
        assert_string_equal(words[3], "it");
}

static void what_is_wrong_is_named(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        assert_int_equal(READ(&err, "--bogus", "x"), -EINVAL);
        assert_string_equal(err.message, "unknown option: --bogus");
        assert_int_equal(READ(&err, "x", "--config"), -EINVAL);
        assert_string_equal(err.message, "a value is missing: --config");
        assert_int_equal(READ(&err, "--quiet=1"), -EINVAL);
        assert_string_equal(err.message, "unknown option: --quiet=1");
}

static void help_has_a_line_for_each(void **state) {
        (void) state;
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        zp_options_print(out, options, OPTIONS);
        fclose(out);
        assert_string_equal(text, "      --config FILE            where\n"
                                  "      --quiet                  say nothing\n"
                                  "      --help                   show this\n");
        free(text);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(options_are_found_in_either_form_and_the_rest_is_left),
                cmocka_unit_test(words_may_come_before_options),
                cmocka_unit_test(what_is_wrong_is_named),
                cmocka_unit_test(help_has_a_line_for_each),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
