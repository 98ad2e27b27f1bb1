/* SPDX-License-Identifier: Apache-2.0 */
#include "base/typo.h"

#include <limits.h>

unsigned zp_typo_distance(const char *a, size_t a_size, const char *b, size_t b_size) {
        unsigned row[ZP_TYPO_SIZE_MAX + 1];
        if (a_size > ZP_TYPO_SIZE_MAX || b_size > ZP_TYPO_SIZE_MAX)
                return UINT_MAX;
        for (unsigned j = 0; j <= b_size; j++)
                row[j] = j;
        for (unsigned i = 1; i <= a_size; i++) {
                unsigned diagonal = row[0];
                row[0] = i;
                for (unsigned j = 1; j <= b_size; j++) {
                        unsigned replaced = diagonal + (a[i - 1] != b[j - 1]);
                        unsigned shorter = (row[j - 1] < row[j] ? row[j - 1] : row[j]) + 1;
                        diagonal = row[j];
                        row[j] = replaced < shorter ? replaced : shorter;
                }
        }
        return row[b_size];
}
