/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/providers/base64.h"

#include <errno.h>
#include <stdlib.h>

static int value_of(enum hook_base64 form, char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == (form == HOOK_BASE64 ? '+' : '-'))
                return 62;
        return c == (form == HOOK_BASE64 ? '/' : '_') ? 63 : -1;
}

/* -EBADMSG: a character of another alphabet, or bits set that belong to no byte. */
static int decode(enum hook_base64 form, const char *text, size_t size, uint8_t *out) {
        uint32_t bits = 0;
        unsigned count = 0;
        for (size_t i = 0; i < size; i++) {
                int value = value_of(form, text[i]);
                if (value < 0)
                        return -EBADMSG;
                bits = bits << 6 | (uint32_t) value;
                count += 6;
                if (count >= 8) {
                        count -= 8;
                        *out++ = (uint8_t) (bits >> count);
                        bits &= (1u << count) - 1;
                }
        }
        return count == 6 || bits ? -EBADMSG : 0;
}

int hook_base64_decode(enum hook_base64 form, const char *text, size_t size, uint8_t **out, size_t *out_size) {
        if (form == HOOK_BASE64) {
                if (size % 4)
                        return -EBADMSG;
                for (int i = 0; i < 2 && size > 0 && text[size - 1] == '='; i++)
                        size--;
        }
        size_t decoded = size / 4 * 3 + size % 4 * 3 / 4;
        uint8_t *bytes = malloc(decoded + 1);
        if (!bytes)
                return -ENOMEM;
        int r = decode(form, text, size, bytes);
        if (r < 0) {
                free(bytes);
                return r;
        }
        bytes[decoded] = '\0';
        *out = bytes;
        *out_size = decoded;
        return 0;
}
