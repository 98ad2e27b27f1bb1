/* SPDX-License-Identifier: Apache-2.0
 *
 * Patterns for names with slashes.
 */
#ifndef ZP_BASE_GLOB_H
#define ZP_BASE_GLOB_H

#include <stdbool.h>

/* '?' is one character and '*' any run of them, neither a '/'; '**' is any run at all. All other characters are
 * themselves. The whole text must match. Takes no more steps than the text's length squared times the pattern's. */
bool zp_glob(const char *pattern, const char *text);

#endif
