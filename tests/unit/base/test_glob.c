/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/glob.h"

static void patterns_match_whole_texts_and_stars_stop_at_slashes(void **state) {
        (void) state;
        static const struct {
                const char *pattern, *text;
                bool matches;
        } cases[] = {
                { "", "", true },
                { "", "a", false },
                { "acme/web", "acme/web", true },
                { "acme/web", "acme/web2", false },
                { "acme/*", "acme/web", true },
                { "acme/*", "acme/", true },
                { "acme/*", "acme/team/web", false },
                { "acme/**", "acme/team/web", true },
                { "**", "", true },
                { "**/web", "acme/team/web", true },
                { "**/web", "acme/team/web/x", false },
                { "*/web", "acme/team/web", false },
                { "**/*-prod", "a/b/c-prod", true },
                { "**/*-prod/*", "a/b-prod/c", true },
                { "a*b*c", "aXbYc", true },
                { "a*b*c", "aXbYcZ", false },
                { "a**b*c", "a/x/b/b-c", true },
                { "v?", "v1", true },
                { "v?", "v", false },
                { "v?", "v/", false },
                { "*", "", true },
                { "[a]", "a", false },
                { "[a]", "[a]", true },
                { "127.0.0.1:*", "127.0.0.1:5000", true },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
                if (zp_glob(cases[i].pattern, cases[i].text) != cases[i].matches)
                        fail_msg("'%s' on '%s'", cases[i].pattern, cases[i].text);
}

static void many_stars_do_not_take_for_ever(void **state) {
        (void) state;
        char text[256];
        memset(text, 'a', sizeof text - 1);
        text[255] = '\0';
        assert_false(zp_glob("**a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a**a*a*a*a*a*a*a*b", text));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(patterns_match_whole_texts_and_stars_stop_at_slashes),
                cmocka_unit_test(many_stars_do_not_take_for_ever),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
