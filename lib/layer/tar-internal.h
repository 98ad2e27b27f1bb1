/* SPDX-License-Identifier: Apache-2.0
 *
 * The pieces of the tar reader: header blocks, PAX records and sparse maps. Private to tar*.c.
 */
#ifndef ZP_LAYER_TAR_INTERNAL_H
#define ZP_LAYER_TAR_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/limits.h"
#include "layer/tar.h"

#define ZP_TAR_BLOCK 512u
/* ustar: prefix 155 + '/' + name 100 + NUL. */
#define ZP_TAR_HEADER_NAME 257
#define ZP_TAR_HEADER_LINK 101

/* What one header block says. */
struct zp_tar_header {
        char type; /* the typeflag as it stands, '\0' included */
        char name[ZP_TAR_HEADER_NAME];
        size_t name_size;
        char link[ZP_TAR_HEADER_LINK];
        size_t link_size;
        int64_t size, mode, uid, gid, mtime;
        int64_t device_major, device_minor;
};

/* Parses a block that is not all zeros. -EBADMSG with the reason alone as message. */
int zp_tar_parse_header(const uint8_t *block, struct zp_tar_header *out, struct zp_error *err);

/* A signed decimal number that takes up all of the text: optional sign, digits, within int64_t. */
bool zp_tar_parse_decimal(const char *text, size_t size, int64_t *out);

/* Keys of PAX records that mean something here. */
enum zp_pax_key {
        ZP_PAX_PATH,
        ZP_PAX_LINKPATH,
        ZP_PAX_UNAME, /* the four up to here may hold no NUL */
        ZP_PAX_GNAME,
        ZP_PAX_SIZE,
        ZP_PAX_UID,
        ZP_PAX_GID,
        ZP_PAX_ATIME,
        ZP_PAX_MTIME,
        ZP_PAX_CTIME,
        ZP_PAX_SPARSE_NUMBLOCKS,
        ZP_PAX_SPARSE_OFFSET,
        ZP_PAX_SPARSE_NUMBYTES,
        ZP_PAX_SPARSE_MAP,
        ZP_PAX_SPARSE_NAME,
        ZP_PAX_SPARSE_MAJOR,
        ZP_PAX_SPARSE_MINOR,
        ZP_PAX_SPARSE_SIZE,
        ZP_PAX_SPARSE_REALSIZE,
        ZP_PAX_KEYS
};

struct zp_pax_value {
        const char *text; /* NUL behind it; NULL: no such record */
        size_t size;
};

/* The records of one extended header. Values point into the header's data, which parsing alters
 * ('=' and the newline of each record become NUL). */
struct zp_pax {
        struct zp_pax_value values[ZP_PAX_KEYS];
        struct zp_tar_xattr xattrs[ZP_LIMIT_XATTRS_PER_FILE];
        size_t xattr_count;
        char *sparse_map; /* format 0.0 gathered into the form of 0.1 */
        size_t sparse_map_size, sparse_map_parts;
};

void zp_pax_reset(struct zp_pax *pax);
void zp_pax_clear(struct zp_pax *pax);
/* Parses all records of `data`, which has a byte more than `size`. */
int zp_pax_parse(struct zp_pax *pax, char *data, size_t size, struct zp_error *err);
/* True when there is such a record and it is not empty: an empty one stands for "as in the header". */
static inline bool zp_pax_has(const struct zp_pax *pax, enum zp_pax_key key) {
        return pax->values[key].size > 0;
}
/* Replaces *out with the number of the record, when there is one. */
int zp_pax_number(const struct zp_pax *pax, enum zp_pax_key key, int64_t *out, struct zp_error *err);
/* The same for a time, "seconds" or "seconds.fraction"; *nanoseconds is in [0, 1e9). */
int zp_pax_time(const struct zp_pax *pax, enum zp_pax_key key, int64_t *seconds, uint32_t *nanoseconds,
                struct zp_error *err);

/* How a sparse file's map is stored. */
enum zp_sparse_form { ZP_SPARSE_NONE, ZP_SPARSE_IN_RECORDS, ZP_SPARSE_IN_DATA };
enum zp_sparse_form zp_pax_sparse_form(const struct zp_pax *pax);

/* A run of data of a sparse file; what lies between runs is a hole. */
struct zp_tar_fragment {
        int64_t offset, size;
};
struct zp_tar_fragments {
        struct zp_tar_fragment *items;
        size_t count, capacity;
};

int zp_tar_add_fragment(struct zp_tar_fragments *fragments, int64_t offset, int64_t size, struct zp_error *err);
/* Formats 0.0 and 0.1: the map is in the records. */
int zp_pax_sparse_map(const struct zp_pax *pax, struct zp_tar_fragments *out, struct zp_error *err);
/* In order, without overlap, inside of the file. */
int zp_tar_check_fragments(const struct zp_tar_fragments *fragments, int64_t file_size, struct zp_error *err);

#endif
