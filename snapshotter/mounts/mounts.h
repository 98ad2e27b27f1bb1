/* SPDX-License-Identifier: Apache-2.0
 *
 * The read-only file systems below accelerated snapshots: EROFS mounts, made when they are wanted, one for all
 * snapshots with the same base.
 *
 *   ROOT/mounts/ID         the mount of the base with that id
 *   ROOT/bases/ID.erofs    its metadata, when it is not that of a whole image
 *
 * Mounts live on when this process ends. Thread-safe.
 */
#ifndef SNAP_MOUNTS_H
#define SNAP_MOUNTS_H

#include <sys/stat.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "snapshotter/control/metastore.h"
#include "store/store.h"

struct snap_mounts;

/* `store` has the images, and must outlive the mounts. `devices` is the data plane's file system; NULL: there is none,
 * and only bases of complete local copies can be mounted. */
int snap_mounts_open(const char *root, struct zp_store *store, const char *devices, struct snap_mounts **out,
                     struct zp_error *err);
void snap_mounts_close(struct snap_mounts *mounts);
/* Takes away the mounts below a root directory, while nobody has it open: on devices of a file system that is gone they
 * cannot be read any more, and whoever comes gets new ones. Those of plain files stay. */
void snap_mounts_detach_served(const char *root);
ZP_DEFINE_AUTO(struct snap_mounts, snap_mounts_close);

/* Whether it is mounted; waits for nobody. */
bool snap_mounts_has(struct snap_mounts *mounts, uint64_t base_id);
/* A layer has been pulled: when it is the image's last one, what its start needs may be fetched. Returns at once. */
void snap_mounts_expect(struct snap_mounts *mounts, const struct snap_base *base);
/* Mounts it unless it is mounted; *root_directory (may be NULL) describes its root. -ENOENT: the store does not have
 * the image (any more). */
int snap_mounts_ensure(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_cancel *cancel,
                       struct stat *root_directory, struct zp_error *err);
/* Unmounts it, and removes what it needed. What is still in use disappears with its last user. Waits for a moment: an
 * unmount takes as long as reads that nobody awaits any more, and goes on elsewhere. While the base is being mounted,
 * whoever does that has it dropped in the end. */
void snap_mounts_drop(struct snap_mounts *mounts, uint64_t base_id);
/* Drops all that have no record. */
int snap_mounts_sweep(struct snap_mounts *mounts, struct snap_metastore *metastore, struct zp_error *err);

#endif
