/* SPDX-License-Identifier: Apache-2.0
 *
 * What preloads have of an image. They are asked as the data plane asks them (data/preload.h): one that hangs is waited
 * for no longer than a look may take.
 */
#ifndef SNAP_PRELOADED_H
#define SNAP_PRELOADED_H

#include "ship/import.h"
#include "snapshotter/data/preload.h"

/* 1: *out is filled in, to be cleared; 0: this preload does not have the image; -ETIMEDOUT: it does not answer. */
int snap_preloaded_look(struct snap_preloads *preloads, size_t number, const struct zp_digest *manifest,
                        struct zp_import_image *out, struct zp_error *err);

/* The context of snap_preloaded_read(), which is what struct zp_import_from wants. Each piece is a look. */
struct snap_preloaded {
        struct snap_preloads *preloads;
        size_t number;
};
int snap_preloaded_read(void *context, const char *file, uint64_t offset, struct zp_import_piece *out,
                        struct zp_error *err);

#endif
