/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mounts/mounts-internal.h"

int snap_base_device(struct snap_mounts *mounts, const struct zp_digest *device, const struct zp_cancel *cancel,
                     struct zp_error *err) {
        return zp_store_unpack_device(mounts->store, device, mounts->pool, cancel, err);
}
