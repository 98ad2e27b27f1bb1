/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes tar archives, odd ones too, for the tests of this room.
 */
#ifndef ZP_TEST_TAR_BUILDER_H
#define ZP_TEST_TAR_BUILDER_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer/tar.h"

#define BUILT_MAX (4u << 20)

struct built {
        uint8_t *data;
        size_t size;
        /* input side */
        size_t at, piece;
        uint8_t *handed_out; /* a copy of the right size: reads past a piece are caught by ASan */
};

/* Fields of a header; zero means the usual value. */
struct member {
        const char *name;
        char type;
        const char *link;
        unsigned mode; /* 0: 0644 */
        unsigned uid, gid;
        long mtime;
        unsigned major, minor;
        const void *data;
        size_t size;
        const char *magic; /* 8 bytes; NULL: "ustar\0" "00" */
};

static inline void put_bytes(struct built *tar, const void *data, size_t size) {
        if (!tar->data)
                tar->data = calloc(1, BUILT_MAX);
        if (tar->size + size > BUILT_MAX)
                abort();
        if (size > 0)
                memcpy(tar->data + tar->size, data, size);
        tar->size += size;
}

static inline void put_zeros(struct built *tar, size_t size) {
        static const uint8_t zeros[1024];
        for (; size > sizeof zeros; size -= sizeof zeros)
                put_bytes(tar, zeros, sizeof zeros);
        put_bytes(tar, zeros, size);
}

static inline void put_checksum(uint8_t *block) {
        unsigned sum = 0;
        char text[8];
        memset(block + 148, ' ', 8);
        for (int i = 0; i < 512; i++)
                sum += block[i];
        snprintf(text, sizeof text, "%06o", sum);
        memcpy(block + 148, text, 7);
}

static inline void put_octal(uint8_t *field, size_t width, unsigned long value) {
        char text[24];
        snprintf(text, sizeof text, "%0*lo", (int) width - 1, value);
        memcpy(field, text, width);
}

/* The header alone; returns where it lies, so that a test may alter it (and call put_checksum). */
static inline uint8_t *put_header(struct built *tar, const struct member *m) {
        put_zeros(tar, 512);
        uint8_t *b = tar->data + tar->size - 512;
        memcpy(b, m->name, strnlen(m->name, 100));
        put_octal(b + 100, 8, m->mode ? m->mode : 0644);
        put_octal(b + 108, 8, m->uid);
        put_octal(b + 116, 8, m->gid);
        put_octal(b + 124, 12, m->size);
        put_octal(b + 136, 12, (unsigned long) m->mtime);
        b[156] = (uint8_t) (m->type ? m->type : '0');
        if (m->link)
                memcpy(b + 157, m->link, strnlen(m->link, 100));
        memcpy(b + 257, m->magic ? m->magic : "ustar\00000", 8);
        put_octal(b + 329, 8, m->major);
        put_octal(b + 337, 8, m->minor);
        put_checksum(b);
        return b;
}

static inline void put_padding(struct built *tar) {
        put_zeros(tar, -tar->size & 511);
}

static inline void put_member(struct built *tar, const struct member *m) {
        put_header(tar, m);
        if (m->size > 0)
                put_bytes(tar, m->data, m->size);
        put_padding(tar);
}
#define PUT(tar, ...) put_member(tar, &(struct member){ __VA_ARGS__ })

/* Adds a PAX record to `text`, which has the records so far. */
static inline size_t add_record(char *text, size_t used, const char *key, const void *value, size_t size) {
        size_t body = strlen(key) + size + 3, total = body, digits;
        do {
                digits = (size_t) snprintf(NULL, 0, "%zu", total);
                total = body + digits;
        } while (digits != (size_t) snprintf(NULL, 0, "%zu", total));
        used += (size_t) sprintf(text + used, "%zu %s=", total, key);
        memcpy(text + used, value, size);
        text[used + size] = '\n';
        return used + size + 1;
}

/* One extended header with one record. */
static inline void put_pax_bytes(struct built *tar, char type, const char *key, const void *value, size_t size) {
        char *text = malloc(size + strlen(key) + 64);
        size_t used = add_record(text, 0, key, value, size);
        PUT(tar, .name = "pax", .type = type, .data = text, .size = used);
        free(text);
}
static inline void put_pax(struct built *tar, const char *key, const char *value) {
        put_pax_bytes(tar, 'x', key, value, strlen(value));
}

static inline int64_t built_input(void *context, const uint8_t **data, struct zp_error *err) {
        struct built *tar = context;
        size_t size = tar->size - tar->at;
        (void) err;
        if (tar->piece && size > tar->piece)
                size = tar->piece;
        free(tar->handed_out);
        tar->handed_out = malloc(size + 1);
        if (size > 0)
                memcpy(tar->handed_out + 1, tar->data + tar->at, size); /* unaligned on purpose */
        tar->at += size;
        *data = tar->handed_out + 1;
        return (int64_t) size;
}

static inline void built_clear(struct built *tar) {
        free(tar->data);
        free(tar->handed_out);
        *tar = (struct built){ 0 };
}

#endif
