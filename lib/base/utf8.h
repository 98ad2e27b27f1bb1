/* SPDX-License-Identifier: Apache-2.0
 *
 * What is UTF-8 (RFC 3629), and making it so: protocol buffers take no other text.
 */
#ifndef ZP_BASE_UTF8_H
#define ZP_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The length of the character at `p`, of which `left` ≥ 1 bytes are there; 0: it is none (no overlong forms, no
 * surrogates, up to U+10FFFF). */
size_t zp_utf8_size(const uint8_t *p, size_t left);
/* Whether all of it is UTF-8 without a NUL. */
bool zp_is_utf8(const void *data, size_t size);
/* Replaces each byte that is part of no character by '?', in place: also what is left of one that was cut. */
void zp_utf8_mend(char *text);

#endif
