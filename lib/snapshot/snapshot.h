/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes the snapshot metadata of an image whose layers are all in the store.
 */
#ifndef ZP_SNAPSHOT_SNAPSHOT_H
#define ZP_SNAPSHOT_SNAPSHOT_H

#include "erofs/writer.h"
#include "store/store.h"

struct zp_snapshot_layers {
        struct zp_store *store;
        const struct zp_digest *names; /* lowest first */
        const struct zp_digest *diff_ids;
        uint16_t count;
        const struct zp_cancel *cancel;
};

/* Merges the layers and writes the file system to `fd`. Its devices are those of the layers that the merged tree still
 * uses, the lowest layer's first, each once. *devices (malloc'ed, the caller's) may be NULL when nobody asks. */
int zp_snapshot_write(const struct zp_snapshot_layers *layers, enum zp_erofs_layout layout, int fd, const char *name,
                      struct zp_erofs_device **devices, uint16_t *device_count, struct zp_erofs_result *result,
                      struct zp_error *err);

#endif
