/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts: their ends, and what must not be in them.
 */
#ifndef ZP_BASE_TEXT_H
#define ZP_BASE_TEXT_H

#include <stdbool.h>
#include <string.h>

/* As all do with "". */
static inline bool zp_ends_with(const char *text, const char *end) {
        size_t size = strlen(text), end_size = strlen(end);
        return size >= end_size && memcmp(text + size - end_size, end, end_size) == 0;
}

/* Control characters, NULs too, become '?', but for those that `kept` has: so text of others can go into lines and to a
 * terminal. */
static inline void zp_replace_controls(char *text, size_t size, const char *kept) {
        size_t kept_size = strlen(kept);
        for (char *p = text; p < text + size; p++)
                if (((unsigned char) *p < 0x20 || *p == 0x7f) && !memchr(kept, *p, kept_size))
                        *p = '?';
}

#endif
