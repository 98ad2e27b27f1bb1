/* SPDX-License-Identifier: Apache-2.0
 *
 * The merge: layer trees in, the tree that overlayfs would show out.
 */
#ifndef ZP_LAYER_MERGE_H
#define ZP_LAYER_MERGE_H

#include "layer/tree.h"

/* Merges `count` layer trees, lowest first, by path, as overlayfs does. Device 0 of layer i becomes
 * device first_devices[i], and so on; NULL: device numbers stay as they are. The result has no whiteouts, no opaque
 * marks and no implied directories. It points into the layers' attributes and link targets, so they must outlive it; of
 * the layers themselves only `scratch` changes. The root of an image has no attributes of its own: 0755, 0:0, time 0.
 * -ENOTDIR, -ELOOP, -ENAMETOOLONG: an implied directory cannot be looked up in a lower layer, which containerd refuses
 * as well; -EBADMSG: ambiguous; -E2BIG: past a limit. Messages name the layer, counted from 1, and the path. */
int zp_tree_merge(struct zp_tree *const *layers, const uint16_t *first_devices, size_t count, struct zp_tree **out,
                  struct zp_error *err);

#endif
