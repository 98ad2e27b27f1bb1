/* SPDX-License-Identifier: Apache-2.0
 *
 * A file system of the store loaded into memory: an image's snapshot, or one layer.
 */
#ifndef ZP_SNAPSHOT_LOAD_H
#define ZP_SNAPSHOT_LOAD_H

#include "erofs/reader.h"
#include "store/store.h"

/* Zeroed is empty. A part that is taken out is set to NULL; the tree and its bytes belong together. */
struct zp_loaded {
        char *data;  /* the file, malloc'ed; the tree points into it */
        size_t size; /* of it, in bytes */
        struct zp_tree *tree;
        struct zp_erofs_device *devices; /* malloc'ed: what the tree's extents count */
        uint16_t device_count;
};
void zp_loaded_clear(struct zp_loaded *loaded);
#define zp_autoloaded __attribute__((cleanup(zp_loaded_clear)))

/* These read the file whole and compare it with its record's digest before anything else looks at it. *out is the
 * caller's; empty on failure. -EBADMSG: damaged; -ENOENT: the file is not there; else as zp_erofs_load fails. */
int zp_snapshot_load(struct zp_store *store, const struct zp_image_record *image, struct zp_loaded *out,
                     struct zp_error *err);
int zp_snapshot_load_layer(struct zp_store *store, const struct zp_layer_record *layer, struct zp_loaded *out,
                           struct zp_error *err);
/* The same of a snapshot that was just written, `size` bytes, and is in no store yet: there is no digest to compare. */
int zp_snapshot_load_new(int fd, uint64_t size, struct zp_loaded *out, struct zp_error *err);

/* 1: the file has its record's digest; 0: it is damaged, or gone. */
int zp_snapshot_is_intact(struct zp_store *store, const struct zp_image_record *image, struct zp_error *err);
int zp_snapshot_layer_is_intact(struct zp_store *store, const struct zp_layer_record *layer, struct zp_error *err);

#endif
