/* SPDX-License-Identifier: Apache-2.0
 *
 * A streaming reader of tar archives that accepts and refuses exactly what containerd does, whose
 * reader is Go's archive/tar (v7, ustar, PAX, GNU): what another reader would guess at is an error here.
 * docs/layer-semantics.md says why this is not libarchive.
 */
#ifndef ZP_LAYER_TAR_H
#define ZP_LAYER_TAR_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Where the archive's bytes come from: sets *data to the next piece, which stays valid until the next
 * call. Returns its size (> 0), 0 at the end, or a negative errno with `err` filled. */
typedef int64_t (*zp_tar_input)(void *context, const uint8_t **data, struct zp_error *err);

struct zp_tar_xattr {
        const char *name; /* without "SCHILY.xattr.", NUL-terminated */
        const uint8_t *value;
        uint32_t value_size;
};

/* One entry. Pointers are the reader's and valid until the next zp_tar_next. */
struct zp_tar_entry {
        char type;        /* the typeflag: '0' regular (also for '\0'), '1' hard link, '2' symbolic link,
                           * '3' char, '4' block, '5' directory, '6' fifo; others as they stand */
        const char *path; /* raw bytes, NUL-terminated, never empty */
        size_t path_size;
        const char *link_target; /* '1' and '2'; otherwise "" */
        size_t link_target_size;
        uint32_t mode; /* 07777 */
        int64_t uid, gid;
        int64_t size; /* bytes of data that zp_tar_data will give, holes included */
        int64_t mtime_s;
        uint32_t mtime_ns;
        int64_t device_major, device_minor;
        const struct zp_tar_xattr *xattrs;
        size_t xattr_count;
        uint64_t header_offset; /* of the entry's first header block in the archive: for messages */
        uint64_t data_offset;   /* of its data in the archive; only for entries that are not sparse */
};

struct zp_tar;

int zp_tar_new(zp_tar_input input, void *context, struct zp_tar **out, struct zp_error *err);
void zp_tar_free(struct zp_tar *tar);
ZP_DEFINE_AUTO(struct zp_tar, zp_tar_free);

/* Moves to the next entry, skipping what is left of the last one's data. Returns 1, 0 at the end of
 * the archive (then all input has been read to its end: bytes after the end marker count in a
 * diffID), or a negative errno: -EBADMSG for a malformed archive, the message naming the entry. */
int zp_tar_next(struct zp_tar *tar, struct zp_tar_entry *entry, struct zp_error *err);

/* The next piece of the entry's data, straight from the input buffer where possible. *data NULL means
 * *size zeros (a hole of a PAX sparse file). Returns 1, 0 when all was given, or a negative errno. */
int zp_tar_data(struct zp_tar *tar, const uint8_t **data, uint64_t *size, struct zp_error *err);

/* Puts "entry '<path>': " in front of a message, a long path shortened so that the reason stays. Returns the code
 * the error carries, negative. */
int zp_tar_blame(const struct zp_tar_entry *entry, struct zp_error *err);

#endif
