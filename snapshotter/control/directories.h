/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshots' directories, and the trash.
 *
 *   ROOT/lock                  held while a daemon uses ROOT
 *   ROOT/metadata.db           the metastore
 *   ROOT/snapshots/ID/fs       what a snapshot holds itself: the upper directory of an overlay
 *   ROOT/snapshots/ID/work     overlayfs's own, of an active one
 *   ROOT/trash/                directories on their way out
 *
 * A directory without a record is left over from a process that died; sweep finds it.
 */
#ifndef SNAP_DIRECTORIES_H
#define SNAP_DIRECTORIES_H

#include <sys/types.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "snapshotter/control/info.h"
#include "snapshotter/control/metastore.h"

struct snap_directories;

/* Whether a root directory can have this path, without symbolic links: -EINVAL when overlayfs cannot be given it, and
 * for '/'. */
int snap_directories_check_path(const char *path, struct zp_error *err);

/* Makes what is missing, and takes the lock: -EBUSY when another daemon has it. -EINVAL: a path that
 * cannot be; -ENOTSUP: a file system that cannot be under an overlay. */
int snap_directories_open(const char *root, struct snap_directories **out, struct zp_error *err);
/* Ends the thread that empties the trash; what is left in it waits for the next start. */
void snap_directories_close(struct snap_directories *directories);
ZP_DEFINE_AUTO(struct snap_directories, snap_directories_close);

/* Absolute, without symbolic links. */
const char *snap_directories_root(const struct snap_directories *directories);

/* Makes a new snapshot's; `owner` is who gets its root directory. */
struct snap_owner {
        uid_t uid;
        gid_t gid;
};
int snap_directories_make(struct snap_directories *directories, uint64_t id, enum snap_kind kind,
                          struct snap_owner owner, struct zp_error *err);
/* Who owns the root directory of a snapshot. */
int snap_directories_owner(struct snap_directories *directories, uint64_t id, struct snap_owner *out,
                           struct zp_error *err);
int snap_directories_usage(struct snap_directories *directories, uint64_t id, const struct zp_cancel *cancel,
                           struct snap_usage *out, struct zp_error *err);

/* Moves a snapshot's directory to the trash, from where a thread removes it. What fails is logged: the record is gone,
 * and the next sweep tries again. */
void snap_directories_discard(struct snap_directories *directories, uint64_t id);
/* Discards all that have no record. No snapshot may be under creation meanwhile. */
int snap_directories_sweep(struct snap_directories *directories, struct snap_metastore *store, struct zp_error *err);
/* Waits until everything now in the trash is removed, or could not be. */
int snap_directories_drain(struct snap_directories *directories, const struct zp_cancel *cancel, struct zp_error *err);

/* -EBADMSG: `root` has directories of snapshots, but no database, or an empty one, that could tell what they are: a
 * sweep would take what containers wrote for leftovers. Nobody need have it open. */
int snap_directories_expect_database(const char *root, struct zp_error *err);

#endif
