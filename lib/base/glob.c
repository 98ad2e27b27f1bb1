/* SPDX-License-Identifier: Apache-2.0 */
#include "base/glob.h"

#include <stddef.h>

/* A place to come back to: the last star of its kind, and where its run begins and may still grow. */
struct retry {
        const char *pattern, *text;
};

/* Lets the run of the star at `retry` take one more character; false: it cannot. */
static bool grow(struct retry *retry, bool over_slash, const char **pattern, const char **text) {
        if (!retry->pattern || !*retry->text || (!over_slash && *retry->text == '/'))
                return false;
        *pattern = retry->pattern;
        *text = ++retry->text;
        return true;
}

bool zp_glob(const char *pattern, const char *text) {
        struct retry star = { 0 }, stars = { 0 };
        for (;;) {
                if (pattern[0] == '*' && pattern[1] == '*') {
                        while (*pattern == '*')
                                pattern++;
                        stars = (struct retry){ pattern, text };
                        star = (struct retry){ 0 }; /* what a later '**' can do makes earlier retries needless */
                } else if (*pattern == '*') {
                        star = (struct retry){ ++pattern, text };
                } else if (*text && (*pattern == *text || (*pattern == '?' && *text != '/'))) {
                        pattern++;
                        text++;
                } else if (!*text && !*pattern) {
                        return true;
                } else if (!grow(&star, false, &pattern, &text)) {
                        star = (struct retry){ 0 };
                        if (!grow(&stars, true, &pattern, &text))
                                return false;
                }
        }
}
