/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static bool reserve(struct zp_buffer *buffer, size_t more) {
        size_t needed;
        if (zp_add_overflows(buffer->size, more, &needed) || zp_add_overflows(needed, 1, &needed))
                return false;
        if (needed <= buffer->capacity)
                return true;
        size_t capacity = buffer->capacity ? buffer->capacity : 256;
        while (capacity < needed)
                if (zp_mul_overflows(capacity, 2, &capacity))
                        return false;
        char *grown = realloc(buffer->data, capacity);
        if (!grown)
                return false;
        buffer->data = grown;
        buffer->capacity = capacity;
        return true;
}

bool zp_buffer_append(struct zp_buffer *buffer, const void *data, size_t size) {
        if (!reserve(buffer, size))
                return false;
        if (size > 0)
                memcpy(buffer->data + buffer->size, data, size);
        buffer->size += size;
        buffer->data[buffer->size] = '\0';
        return true;
}

bool zp_buffer_text(struct zp_buffer *buffer, const char *text) {
        return zp_buffer_append(buffer, text, strlen(text));
}

void zp_buffer_clear(struct zp_buffer *buffer) {
        free(buffer->data);
        *buffer = (struct zp_buffer){ 0 };
}

char *zp_format(const char *format, ...) {
        va_list args;
        va_start(args, format);
        char *text;
        int n = vasprintf(&text, format, args);
        va_end(args);
        return n < 0 ? NULL : text;
}

int zp_memory_read(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) err;
        memcpy(buffer, (const char *) context + offset, size);
        return 0;
}
