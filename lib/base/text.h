/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts that end with a NUL.
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

#endif
