/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct decoder {
        uint32_t bits;  /* that make no byte yet */
        unsigned count; /* of these */
        size_t digits, padding;
        uint8_t *end; /* of what is decoded */
};

static int value_of(enum zp_base64 form, char c) {
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        if (c == (form == ZP_BASE64_URL ? '-' : '+'))
                return 62;
        return c == (form == ZP_BASE64_URL ? '_' : '/') ? 63 : -1;
}

static bool take(struct decoder *d, int value) {
        if (value < 0 || d->padding > 0)
                return false;
        d->digits++;
        d->bits = d->bits << 6 | (uint32_t) value;
        d->count += 6;
        if (d->count >= 8) {
                d->count -= 8;
                *d->end++ = (uint8_t) (d->bits >> d->count);
                d->bits &= (1u << d->count) - 1;
        }
        return true;
}

static bool decode(enum zp_base64 form, const char *text, size_t size, struct decoder *d) {
        for (size_t i = 0; i < size; i++) {
                if (form == ZP_BASE64_WRAPPED && text[i] && strchr(" \t\r\n", text[i]))
                        continue;
                if (form != ZP_BASE64_URL && text[i] == '=')
                        d->padding++;
                else if (!take(d, value_of(form, text[i])))
                        return false;
        }
        if (form != ZP_BASE64_URL && (d->padding > 2 || (d->digits + d->padding) % 4 != 0))
                return false;
        return d->count != 6 && d->bits == 0;
}

int zp_base64_decode(enum zp_base64 form, const char *text, size_t size, uint8_t **out, size_t *out_size) {
        size_t room = size / 4 * 3 + 3;
        uint8_t *bytes = malloc(room);
        if (!bytes)
                return -ENOMEM;
        struct decoder d = { .end = bytes };
        if (!decode(form, text, size, &d)) {
                explicit_bzero(bytes, (size_t) (d.end - bytes));
                free(bytes);
                return -EBADMSG;
        }
        *d.end = '\0';
        *out = bytes;
        *out_size = (size_t) (d.end - bytes);
        return 0;
}
