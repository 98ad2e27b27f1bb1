/* SPDX-License-Identifier: Apache-2.0
 *
 * The block maps of the devices in a store.
 */
#ifndef ZP_STORE_DEVICE_MAP_H
#define ZP_STORE_DEVICE_MAP_H

#include "pack/block-map.h"
#include "store/store.h"

struct zp_device_map {
        uint8_t *bytes; /* the file; malloc'ed */
        size_t size;
        struct zp_block_map map; /* points into it */
};
void zp_device_map_clear(struct zp_device_map *map);

/* The device's block map: as it lies in the store (a damaged one counts as none), else made from the device on `pool`
 * and kept. 1, or 0: there is none, the device being held by its index alone or having too many blocks. */
int zp_store_load_map(struct zp_store *store, const struct zp_device_record *device, struct zp_pool *pool,
                      const struct zp_cancel *cancel, struct zp_device_map *out, struct zp_error *err);
/* Removes the map that lies in the store, if there is one: of a device whose data is here it is made again. */
int zp_store_drop_map(struct zp_store *store, const struct zp_digest *device, struct zp_error *err);

#endif
