/* SPDX-License-Identifier: Apache-2.0 */
#include "base/utf8.h"

#include <string.h>

size_t zp_utf8_size(const uint8_t *p, size_t left) {
        if (p[0] < 0x80)
                return 1;
        size_t size = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
        if (p[0] < 0xc2 || p[0] > 0xf4 || size > left)
                return 0;
        for (size_t i = 1; i < size; i++)
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
        bool is_bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
                      (p[0] == 0xf4 && p[1] > 0x8f);
        return is_bad ? 0 : size;
}

bool zp_is_utf8(const void *data, size_t size) {
        const uint8_t *p = data;
        for (size_t at = 0, step; at < size; at += step) {
                step = p[at] == 0 ? 0 : zp_utf8_size(p + at, size - at);
                if (step == 0)
                        return false;
        }
        return true;
}

void zp_utf8_mend(char *text) {
        for (size_t left = strlen(text), step; left > 0; text += step, left -= step) {
                step = zp_utf8_size((const uint8_t *) text, left);
                if (step == 0) {
                        *text = '?';
                        step = 1;
                }
        }
}
