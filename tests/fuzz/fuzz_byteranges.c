/* SPDX-License-Identifier: Apache-2.0
 *
 * An answer of several ranges: the first line is its Content-Type. However it is cut, the same must come of it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/byteranges.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int add(void *context, const struct zp_content_range *range, uint64_t position, const void *data, size_t size,
               struct zp_error *err) {
        uint64_t *sum = context;
        (void) err;
        if (size == 0 || position < range->start || position + size > range->end)
                abort();
        for (size_t i = 0; i < size; i++)
                *sum = *sum * 31 + position + i + ((const uint8_t *) data)[i];
        return 0;
}

static uint64_t feed(const char *type, const uint8_t *data, size_t size, size_t piece) {
        zp_auto(zp_byteranges_free) struct zp_byteranges *ranges = NULL;
        struct zp_error err = { 0 };
        uint64_t sum = 0;
        int r = zp_byteranges_new(type, &ranges, &err);
        for (size_t part; size > 0 && r == 0; data += part, size -= part) {
                part = size < piece ? size : piece;
                r = zp_byteranges_feed(ranges, data, part, add, &sum, &err);
        }
        return sum * 2 + (r < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
        if (!newline)
                return 0;
        char *type = strndup((const char *) data, (size_t) (newline - data));
        size_t left = size - (size_t) (newline + 1 - data);
        if (type && feed(type, newline + 1, left, SIZE_MAX) != feed(type, newline + 1, left, 3))
                abort();
        free(type);
        return 0;
}
