/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/earlier-tags.h"

#include <stdbool.h>
#include <string.h>

#define DIGITS "0123456789"

/* A number in a text; without leading zeros, so that the longer one is the greater. */
struct number {
        const char *digits;
        size_t size;
};

static struct number take_number(const char **text) {
        size_t all = strspn(*text, DIGITS), zeros = strspn(*text, "0");
        struct number number = { *text + zeros, zeros < all ? all - zeros : 0 };
        *text += all;
        return number;
}

static int compare_numbers(struct number a, struct number b) {
        if (a.size != b.size)
                return a.size < b.size ? -1 : 1;
        return memcmp(a.digits, b.digits, a.size);
}

/* False when they are not versions of one kind. */
static bool compare(const char *a, const char *b, int *out) {
        *out = 0;
        while (*a && *b) {
                size_t text = strcspn(a, DIGITS);
                if (text != strcspn(b, DIGITS) || memcmp(a, b, text) != 0)
                        return false;
                a += text;
                b += text;
                if (!*a || !*b)
                        break;
                int order = compare_numbers(take_number(&a), take_number(&b));
                if (*out == 0)
                        *out = order;
        }
        return !*a && !*b;
}

size_t zp_earlier_tags(const char *tag, char *const *tags, size_t count, const char **out, size_t max) {
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
                int order;
                if (!compare(tags[i], tag, &order) || order >= 0)
                        continue;
                size_t at = found;
                while (at > 0 && compare(out[at - 1], tags[i], &order) && order < 0)
                        at--;
                if (at == max)
                        continue;
                if (found < max)
                        found++;
                memmove(out + at + 1, out + at, (found - at - 1) * sizeof *out);
                out[at] = tags[i];
        }
        return found;
}
