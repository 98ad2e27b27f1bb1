/* SPDX-License-Identifier: Apache-2.0
 *
 * PAX extended headers: the records "LENGTH KEY=VALUE\n", and GNU's sparse maps kept in them. Accepts
 * what Go's archive/tar accepts.
 */
#include "layer/tar-internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

static const char XATTR_PREFIX[] = "SCHILY.xattr.";
#define XATTR_PREFIX_SIZE (sizeof XATTR_PREFIX - 1)

#define KEY(text) \
        { text, sizeof text - 1 }
static const struct {
        const char *text;
        size_t size;
} KEYS[ZP_PAX_KEYS] = {
        [ZP_PAX_PATH] = KEY("path"),
        [ZP_PAX_LINKPATH] = KEY("linkpath"),
        [ZP_PAX_UNAME] = KEY("uname"),
        [ZP_PAX_GNAME] = KEY("gname"),
        [ZP_PAX_SIZE] = KEY("size"),
        [ZP_PAX_UID] = KEY("uid"),
        [ZP_PAX_GID] = KEY("gid"),
        [ZP_PAX_ATIME] = KEY("atime"),
        [ZP_PAX_MTIME] = KEY("mtime"),
        [ZP_PAX_CTIME] = KEY("ctime"),
        [ZP_PAX_SPARSE_NUMBLOCKS] = KEY("GNU.sparse.numblocks"),
        [ZP_PAX_SPARSE_OFFSET] = KEY("GNU.sparse.offset"),
        [ZP_PAX_SPARSE_NUMBYTES] = KEY("GNU.sparse.numbytes"),
        [ZP_PAX_SPARSE_MAP] = KEY("GNU.sparse.map"),
        [ZP_PAX_SPARSE_NAME] = KEY("GNU.sparse.name"),
        [ZP_PAX_SPARSE_MAJOR] = KEY("GNU.sparse.major"),
        [ZP_PAX_SPARSE_MINOR] = KEY("GNU.sparse.minor"),
        [ZP_PAX_SPARSE_SIZE] = KEY("GNU.sparse.size"),
        [ZP_PAX_SPARSE_REALSIZE] = KEY("GNU.sparse.realsize"),
};

bool zp_tar_parse_decimal(const char *text, size_t size, int64_t *out) {
        bool negative = size > 0 && text[0] == '-';
        int64_t value = 0;

        if (size > 0 && (text[0] == '-' || text[0] == '+')) {
                text++;
                size--;
        }
        if (size == 0)
                return false;
        for (; size > 0; text++, size--) {
                if (*text < '0' || *text > '9')
                        return false;
                int digit = *text - '0';
                if (zp_mul_overflows(value, 10, &value) || zp_add_overflows(value, negative ? -digit : digit, &value))
                        return false;
        }
        *out = value;
        return true;
}

void zp_pax_reset(struct zp_pax *pax) {
        memset(pax->values, 0, sizeof pax->values);
        pax->xattr_count = 0;
        pax->sparse_map_size = pax->sparse_map_parts = 0;
}

void zp_pax_clear(struct zp_pax *pax) {
        free(pax->sparse_map);
        pax->sparse_map = NULL;
}

static enum zp_pax_key find_key(const char *key, size_t size) {
        for (int i = 0; i < ZP_PAX_KEYS; i++)
                if (KEYS[i].size == size && memcmp(KEYS[i].text, key, size) == 0)
                        return (enum zp_pax_key) i;
        return ZP_PAX_KEYS;
}

/* Of several records of one key the last holds. */
static int add_xattr(struct zp_pax *pax, const char *name, const char *value, size_t size, struct zp_error *err) {
        struct zp_tar_xattr *xattr = pax->xattrs;

        while (xattr < pax->xattrs + pax->xattr_count && strcmp(xattr->name, name) != 0)
                xattr++;
        if (xattr == pax->xattrs + ZP_LIMIT_XATTRS_PER_FILE)
                return zp_error_set(err, E2BIG, "more than %d extended attributes", ZP_LIMIT_XATTRS_PER_FILE);
        if (xattr == pax->xattrs + pax->xattr_count)
                pax->xattr_count++;
        *xattr = (struct zp_tar_xattr){ .name = name, .value = (const uint8_t *) value, .value_size = (uint32_t) size };
        return 0;
}

/* Format 0.0 has a pair of records for each fragment; 0.1 has all of them in one, separated by commas. */
static int gather_sparse_map(struct zp_pax *pax, enum zp_pax_key key, const char *value, size_t size, size_t total,
                             struct zp_error *err) {
        enum zp_pax_key expected = pax->sparse_map_parts % 2 == 0 ? ZP_PAX_SPARSE_OFFSET : ZP_PAX_SPARSE_NUMBYTES;

        if (key != expected || memchr(value, ',', size))
                return zp_error_set(err, EBADMSG, "bad order of GNU.sparse records");
        if (pax->sparse_map_parts == 0) {
                /* Each value is shorter than the record it came from: all fit in the size of the header. */
                free(pax->sparse_map);
                pax->sparse_map = malloc(total + 1);
                if (!pax->sparse_map)
                        return zp_error_errno(err, ENOMEM, "tar reader");
        } else {
                pax->sparse_map[pax->sparse_map_size++] = ',';
        }
        memcpy(pax->sparse_map + pax->sparse_map_size, value, size);
        pax->sparse_map_size += size;
        pax->sparse_map_parts++;
        return 0;
}

static int add_record(struct zp_pax *pax, char *key, size_t key_size, const char *value, size_t value_size,
                      size_t total, struct zp_error *err) {
        enum zp_pax_key known = find_key(key, key_size);

        if (known <= ZP_PAX_GNAME ? memchr(value, 0, value_size) != NULL
                                  : key_size == 0 || memchr(key, 0, key_size) != NULL)
                return zp_error_set(err, EBADMSG, "bad PAX record: a NUL, or no key");
        if (known == ZP_PAX_SPARSE_OFFSET || known == ZP_PAX_SPARSE_NUMBYTES)
                return gather_sparse_map(pax, known, value, value_size, total, err);
        if (known < ZP_PAX_KEYS) {
                pax->values[known] = (struct zp_pax_value){ value, value_size };
                return 0;
        }
        if (key_size < XATTR_PREFIX_SIZE || memcmp(key, XATTR_PREFIX, XATTR_PREFIX_SIZE) != 0)
                return 0;
        return add_xattr(pax, key + XATTR_PREFIX_SIZE, value, value_size, err);
}

/* Parses the record at `data`; *used is its length. */
static int parse_record(struct zp_pax *pax, char *data, size_t size, size_t total, size_t *used, struct zp_error *err) {
        const char *space = memchr(data, ' ', size);
        int64_t length;

        if (!space || !zp_tar_parse_decimal(data, (size_t) (space - data), &length) || length < 5 ||
            (uint64_t) length > size)
                return zp_error_set(err, EBADMSG, "bad PAX record: its length");
        size_t head = (size_t) (space - data) + 1;
        if ((size_t) length <= head || data[length - 1] != '\n')
                return zp_error_set(err, EBADMSG, "bad PAX record: no newline where it ends");

        char *key = data + head, *end = data + length - 1;
        char *equals = memchr(key, '=', (size_t) (end - key));
        if (!equals)
                return zp_error_set(err, EBADMSG, "bad PAX record: no '='");
        *equals = '\0';
        *end = '\0';
        *used = (size_t) length;
        return add_record(pax, key, (size_t) (equals - key), equals + 1, (size_t) (end - equals - 1), total, err);
}

int zp_pax_parse(struct zp_pax *pax, char *data, size_t size, struct zp_error *err) {
        zp_pax_reset(pax);
        for (size_t at = 0, used = 0; at < size; at += used) {
                int r = parse_record(pax, data + at, size - at, size, &used, err);
                if (r < 0)
                        return r;
        }
        if (pax->sparse_map_parts > 0)
                pax->values[ZP_PAX_SPARSE_MAP] = (struct zp_pax_value){ pax->sparse_map, pax->sparse_map_size };
        return 0;
}

int zp_pax_number(const struct zp_pax *pax, enum zp_pax_key key, int64_t *out, struct zp_error *err) {
        if (zp_pax_has(pax, key) && !zp_tar_parse_decimal(pax->values[key].text, pax->values[key].size, out))
                return zp_error_set(err, EBADMSG, "PAX record '%s' is not a number", KEYS[key].text);
        return 0;
}

/* Nine digits of the fraction count, the others must be digits all the same. */
static bool parse_fraction(const char *text, size_t size, uint32_t *out) {
        uint32_t scale = 100000000;

        for (; size > 0; text++, size--, scale /= 10) {
                if (*text < '0' || *text > '9')
                        return false;
                *out += scale * (uint32_t) (*text - '0');
        }
        return true;
}

int zp_pax_time(const struct zp_pax *pax, enum zp_pax_key key, int64_t *seconds, uint32_t *nanoseconds,
                struct zp_error *err) {
        const struct zp_pax_value *value = &pax->values[key];
        uint32_t fraction = 0;

        if (value->size == 0)
                return 0;
        const char *dot = memchr(value->text, '.', value->size);
        size_t whole = dot ? (size_t) (dot - value->text) : value->size;
        if (!zp_tar_parse_decimal(value->text, whole, seconds) ||
            (dot && !parse_fraction(dot + 1, value->size - whole - 1, &fraction)))
                return zp_error_set(err, EBADMSG, "PAX record '%s' is not a time", KEYS[key].text);
        /* "-1.25" is a quarter second before -1. Past the end of int64_t either end is out of any bound. */
        if (fraction > 0 && value->text[0] == '-') {
                *seconds = (int64_t) ((uint64_t) *seconds - 1);
                fraction = 1000000000 - fraction;
        }
        *nanoseconds = fraction;
        return 0;
}

static bool value_is(const struct zp_pax *pax, enum zp_pax_key key, const char *text) {
        const struct zp_pax_value *value = &pax->values[key];
        return value->size == strlen(text) && memcmp(value->text, text, value->size) == 0;
}

enum zp_sparse_form zp_pax_sparse_form(const struct zp_pax *pax) {
        if (value_is(pax, ZP_PAX_SPARSE_MAJOR, "0") &&
            (value_is(pax, ZP_PAX_SPARSE_MINOR, "0") || value_is(pax, ZP_PAX_SPARSE_MINOR, "1")))
                return ZP_SPARSE_IN_RECORDS;
        if (value_is(pax, ZP_PAX_SPARSE_MAJOR, "1") && value_is(pax, ZP_PAX_SPARSE_MINOR, "0"))
                return ZP_SPARSE_IN_DATA;
        if (zp_pax_has(pax, ZP_PAX_SPARSE_MAJOR) || zp_pax_has(pax, ZP_PAX_SPARSE_MINOR))
                return ZP_SPARSE_NONE; /* an unknown version: the file as it is stored */
        return zp_pax_has(pax, ZP_PAX_SPARSE_MAP) ? ZP_SPARSE_IN_RECORDS : ZP_SPARSE_NONE;
}

int zp_tar_add_fragment(struct zp_tar_fragments *fragments, int64_t offset, int64_t size, struct zp_error *err) {
        if (fragments->count == fragments->capacity) {
                size_t capacity = fragments->capacity ? 2 * fragments->capacity : 64;
                void *items = reallocarray(fragments->items, capacity, sizeof *fragments->items);
                if (!items)
                        return zp_error_errno(err, ENOMEM, "tar reader");
                fragments->items = items;
                fragments->capacity = capacity;
        }
        fragments->items[fragments->count++] = (struct zp_tar_fragment){ offset, size };
        return 0;
}

/* The text up to the next comma; moves on behind it. */
static bool next_map_number(const char **text, size_t *size, int64_t *out) {
        const char *comma = memchr(*text, ',', *size);
        size_t part = comma ? (size_t) (comma - *text) : *size;

        if (!zp_tar_parse_decimal(*text, part, out))
                return false;
        *text += part;
        *size -= part;
        if (comma) {
                ++*text;
                --*size;
        }
        return true;
}

int zp_pax_sparse_map(const struct zp_pax *pax, struct zp_tar_fragments *out, struct zp_error *err) {
        const struct zp_pax_value *map = &pax->values[ZP_PAX_SPARSE_MAP];
        const struct zp_pax_value *number = &pax->values[ZP_PAX_SPARSE_NUMBLOCKS];
        const char *text = map->text ? map->text : "";
        size_t size = map->size;
        int64_t expected, parts = size > 0;

        for (size_t i = 0; i < size; i++)
                parts += text[i] == ',';
        if (!number->text || !zp_tar_parse_decimal(number->text, number->size, &expected) || expected < 0 ||
            expected > INT64_MAX / 2 || parts != 2 * expected)
                return zp_error_set(err, EBADMSG, "the sparse map is not as long as it says");
        for (int64_t i = 0; i < expected; i++) {
                int64_t offset, length;
                if (!next_map_number(&text, &size, &offset) || !next_map_number(&text, &size, &length))
                        return zp_error_set(err, EBADMSG, "bad number in the sparse map");
                int r = zp_tar_add_fragment(out, offset, length, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int zp_tar_check_fragments(const struct zp_tar_fragments *fragments, int64_t file_size, struct zp_error *err) {
        int64_t end = 0, previous_end = 0;

        if (file_size < 0)
                return zp_error_set(err, EBADMSG, "negative size");
        for (size_t i = 0; i < fragments->count; i++, previous_end = end) {
                const struct zp_tar_fragment *f = &fragments->items[i];
                if (f->offset < previous_end || f->size < 0 || zp_add_overflows(f->offset, f->size, &end) ||
                    end > file_size)
                        return zp_error_set(err, EBADMSG, "the sparse map is out of order or leaves the file");
        }
        return 0;
}
