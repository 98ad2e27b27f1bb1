/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes the EROFS file system of a tree: metadata only, file data lies on layer devices.
 * Format: docs/snapshot-format.md and the kernel's Documentation/filesystems/erofs.rst.
 */
#ifndef ZP_EROFS_WRITER_H
#define ZP_EROFS_WRITER_H

#include "base/digest.h"
#include "layer/tree.h"

struct zp_erofs_device {
        struct zp_digest digest; /* its hex digits become the device's tag */
        uint64_t blocks;         /* 4 KiB blocks, > 0 */
};

enum zp_erofs_layout {
        /* a device table with mapped_blkaddr: mounts with device=… options, and laid end to end with its
         * devices as one flat disk (kernel ≥ 6.4) */
        ZP_EROFS_DEVICE_TABLE,
        /* absolute addresses and no device table: only as a flat disk (kernel ≥ 5.15) */
        ZP_EROFS_FLAT,
};

struct zp_erofs_options {
        enum zp_erofs_layout layout;
        const struct zp_erofs_device *devices; /* what the extents' device numbers mean */
        uint16_t device_count;
        bool is_layer; /* keep whiteouts, opaque marks and implied directories, in overlayfs form */
};

struct zp_erofs_result {
        uint64_t blocks; /* size of what was written, 4 KiB blocks: where the first device starts on the disk */
        uint64_t inodes;
};

/* Writes at the start of `fd` (empty, seekable). Deterministic: the same tree gives the same bytes. Sorts the
 * tree's directories and uses the inodes' and xattrs' `scratch`. -ENOTSUP when the tree cannot be described (an xattr
 * namespace EROFS has no number for), the message naming the path. */
int zp_erofs_write(struct zp_tree *tree, const struct zp_erofs_options *options, int fd, const char *name,
                   struct zp_erofs_result *result, struct zp_error *err);

#endif
