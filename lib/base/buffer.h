/* SPDX-License-Identifier: Apache-2.0
 *
 * A growable run of bytes that always ends in a NUL (not counted), and formatted strings of any length.
 */
#ifndef ZP_BASE_BUFFER_H
#define ZP_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct zp_buffer {
        char *data; /* NULL while nothing was ever appended; free(3) it, or take it with zp_steal */
        size_t size;
        size_t capacity;
};

/* Each returns false when memory is exhausted; what was there before stays. A zeroed buffer is ready. */
bool zp_buffer_append(struct zp_buffer *buffer, const void *data, size_t size);
bool zp_buffer_text(struct zp_buffer *buffer, const char *text);
void zp_buffer_clear(struct zp_buffer *buffer);

/* A malloc'ed string, the caller's; NULL: out of memory. */
char *zp_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Clears a struct zp_buffer when its scope ends. */
#define zp_autobuffer __attribute__((cleanup(zp_buffer_clear)))

/* A source of bytes (zp_http_read, zp_remote_read) that are in memory: `context` points to the first. */
int zp_memory_read(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err);

#endif
