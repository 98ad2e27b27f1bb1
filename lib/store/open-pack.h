/* SPDX-License-Identifier: Apache-2.0
 *
 * A device's pack in the store, opened for reading.
 */
#ifndef ZP_STORE_OPEN_PACK_H
#define ZP_STORE_OPEN_PACK_H

#include "pack/reader.h"
#include "store/store.h"

/* A zeroed one is closed. */
struct zp_open_pack {
        int fd;
        struct zp_pack *pack; /* NULL: not open */
};

/* Opens the pack of a device whose record that is, its index checked against its name. -ENODATA: it was fetched by its
 * index alone; -EBADMSG: damaged. */
int zp_store_open_pack(struct zp_store *store, const struct zp_device_record *device, struct zp_open_pack *out,
                       struct zp_error *err);
void zp_open_pack_close(struct zp_open_pack *pack);

#endif
