/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/content-range.h"

#include <strings.h>

#include "base/bytes.h"

/* Digits only, below 2^63. */
static bool read_number(const char **text, uint64_t *out) {
        const char *p = *text;
        *out = 0;
        for (; *p >= '0' && *p <= '9'; p++)
                if (zp_mul_overflows(*out, 10, out) || zp_add_overflows(*out, (uint64_t) (*p - '0'), out) ||
                    *out > INT64_MAX)
                        return false;
        bool has_digits = p > *text;
        *text = p;
        return has_digits;
}

static bool read_character(const char **text, char wanted) {
        return *(*text)++ == wanted;
}

bool zp_content_range_parse(const char *text, struct zp_content_range *out) {
        uint64_t last;
        if (!text || strncasecmp(text, "bytes ", 6) != 0)
                return false;
        text += 6;
        if (!read_number(&text, &out->start) || !read_character(&text, '-') || !read_number(&text, &last) ||
            !read_character(&text, '/'))
                return false;
        out->end = last + 1;
        out->total = 0;
        if (*text == '*')
                text++;
        else if (!read_number(&text, &out->total) || out->total < out->end)
                return false;
        return *text == '\0' && last >= out->start;
}
