/* SPDX-License-Identifier: Apache-2.0
 *
 * Sized access to little- and big-endian integers, a reader that cannot pass its end, checked arithmetic.
 */
#ifndef ZP_BASE_BYTES_H
#define ZP_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t zp_get_le16(const void *p) {
        uint16_t v;
        memcpy(&v, p, sizeof v);
        return le16toh(v);
}
static inline uint32_t zp_get_le32(const void *p) {
        uint32_t v;
        memcpy(&v, p, sizeof v);
        return le32toh(v);
}
static inline uint64_t zp_get_le64(const void *p) {
        uint64_t v;
        memcpy(&v, p, sizeof v);
        return le64toh(v);
}
static inline void zp_put_le16(void *p, uint16_t v) {
        v = htole16(v);
        memcpy(p, &v, sizeof v);
}
static inline void zp_put_le32(void *p, uint32_t v) {
        v = htole32(v);
        memcpy(p, &v, sizeof v);
}
static inline void zp_put_le64(void *p, uint64_t v) {
        v = htole64(v);
        memcpy(p, &v, sizeof v);
}

/* Reads forward through `size` bytes. A read past the end returns zeros and sets `failed`, which stays
 * set: check it once, after a run of reads. */
struct zp_reader {
        const uint8_t *next;
        size_t left;
        bool failed;
};

static inline struct zp_reader zp_reader(const void *data, size_t size) {
        return (struct zp_reader){ .next = data, .left = size };
}
/* The next `size` bytes, or NULL when there are not that many. */
static inline const uint8_t *zp_read_bytes(struct zp_reader *r, size_t size) {
        if (r->failed || size > r->left) {
                r->failed = true;
                return NULL;
        }
        const uint8_t *p = r->next;
        r->next += size;
        r->left -= size;
        return p;
}
static inline uint8_t zp_read_u8(struct zp_reader *r) {
        const uint8_t *p = zp_read_bytes(r, 1);
        return p ? *p : 0;
}
static inline uint16_t zp_read_le16(struct zp_reader *r) {
        const uint8_t *p = zp_read_bytes(r, 2);
        return p ? zp_get_le16(p) : 0;
}
static inline uint32_t zp_read_le32(struct zp_reader *r) {
        const uint8_t *p = zp_read_bytes(r, 4);
        return p ? zp_get_le32(p) : 0;
}
static inline uint64_t zp_read_le64(struct zp_reader *r) {
        const uint8_t *p = zp_read_bytes(r, 8);
        return p ? zp_get_le64(p) : 0;
}

/* True when the result does not fit; then *out is unspecified. */
#define zp_add_overflows(a, b, out) __builtin_add_overflow((a), (b), (out))
#define zp_mul_overflows(a, b, out) __builtin_mul_overflow((a), (b), (out))

static inline uint64_t zp_round_up(uint64_t value, uint64_t power_of_two) {
        return (value + power_of_two - 1) & ~(power_of_two - 1);
}
static inline uint64_t zp_min_u64(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

/* True when all `size` bytes are zero. */
static inline bool zp_is_zero(const void *data, size_t size) {
        const uint8_t *p = data;
        return size == 0 || (p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
}

#endif
