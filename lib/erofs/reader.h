/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads back the EROFS files that the writer makes (uncompressed, 4 KiB blocks). The bytes are not
 * trusted: every offset, size and count is checked.
 */
#ifndef ZP_EROFS_READER_H
#define ZP_EROFS_READER_H

#include "erofs/writer.h"

/* Loads the whole tree from `size` bytes at `image` (say, a mapped file), which must stay valid as long as
 * the tree. *devices (malloc'ed, the caller's, NULL when there are none) and *device_count describe its
 * device table; pass NULL for both to ignore it. -EBADMSG: malformed; -ENOTSUP: EROFS, but with features
 * that the writer does not use, or a flat disk, whose files do not tell their devices any more. */
int zp_erofs_load(const void *image, size_t size, struct zp_tree **out, struct zp_erofs_device **devices,
                  uint16_t *device_count, struct zp_error *err);

/* Whether that would load, but builds no tree: takes a bit of memory for every 32 bytes of the image. What passes can
 * fail to load only for want of memory, or because its tree takes more than ZP_LIMIT_LAYER_METADATA. */
int zp_erofs_check(const void *image, size_t size, struct zp_erofs_device **devices, uint16_t *device_count,
                   struct zp_error *err);

/* The device table alone: whatever else is in the file is not looked at. */
int zp_erofs_read_devices(const void *image, size_t size, struct zp_erofs_device **devices, uint16_t *device_count,
                          struct zp_error *err);

#endif
