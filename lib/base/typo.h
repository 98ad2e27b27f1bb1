/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a word is from the one that was meant.
 */
#ifndef ZP_BASE_TYPO_H
#define ZP_BASE_TYPO_H

#include <stddef.h>

#define ZP_TYPO_SIZE_MAX 32u

/* How many characters are put in, left out or replaced between the two (Levenshtein). UINT_MAX: one of them is longer
 * than ZP_TYPO_SIZE_MAX. */
unsigned zp_typo_distance(const char *a, size_t a_size, const char *b, size_t b_size);

#endif
