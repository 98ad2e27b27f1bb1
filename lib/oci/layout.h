/* SPDX-License-Identifier: Apache-2.0
 *
 * An OCI image layout (image-spec 1.1, image-layout.md), wherever its files are.
 */
#ifndef ZP_OCI_LAYOUT_H
#define ZP_OCI_LAYOUT_H

#include "oci/source-internal.h"

struct zp_layout {
        void *files;
        /* Finds "blobs/sha256/…"; -ENOENT. The fd is the caller's to close when `is_own_fd`. */
        int (*find)(void *files, const char *path, struct zp_extent *out, struct zp_error *err);
        bool is_own_fd;
};

/* Reads what `tag` (org.opencontainers.image.ref.name) names in index.json; NULL: its only entry. */
int zp_layout_root(const struct zp_layout *layout, const char *tag, struct zp_document *out, struct zp_error *err);
int zp_layout_blob(const struct zp_layout *layout, const struct zp_descriptor *blob, zp_blob_sink sink, void *context,
                   struct zp_error *err);

#endif
