/* SPDX-License-Identifier: Apache-2.0
 *
 * The mounts that show a snapshot. containerd mounts them, in its own mount namespace.
 */
#ifndef SNAP_MOUNT_OPTIONS_H
#define SNAP_MOUNT_OPTIONS_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/error.h"
#include "snapshotter/control/metastore.h"

/* The one mount of a snapshot; strings live in the arena. */
struct snap_mount {
        const char *type, *source;
        const char **options;
        size_t option_count;
};

struct snap_mount_settings {
        const char *root;
        bool index_off;    /* the kernel knows index=off: a lower directory may be under several overlays */
        bool redirect_dir; /* and redirect_dir=on: a lower directory can be renamed. Not together with user_xattr */
        bool user_xattr;   /* in a user namespace: trusted.* are not to be had */
        bool remap_ids;    /* containerd is to map ids at the mount, as the snapshot's labels say */
};

/* What the kernel and this process's namespace ask for. */
void snap_mount_settings_detect(const char *root, struct snap_mount_settings *out);

/* A bind mount where there is one directory to show, else an overlay: of an active snapshot's own directory over its
 * parents, or of the parents of a view. */
int snap_mount_of(const struct snap_mount_settings *settings, const struct snap_chain *chain, struct zp_arena *arena,
                  struct snap_mount *out, struct zp_error *err);

#define SNAP_LABEL_UID_MAPPING "containerd.io/snapshot/uidmapping"
#define SNAP_LABEL_GID_MAPPING "containerd.io/snapshot/gidmapping"

/* Who on the host is the root of a container with these mappings ("CONTAINER:HOST:SIZE,…"): -1 each where no label
 * tells. -EINVAL: not such a list, or root is not in it. */
int snap_mapped_root(const struct snap_labels *labels, int64_t *uid, int64_t *gid, struct zp_error *err);

#endif
