/* SPDX-License-Identifier: Apache-2.0
 *
 * What is asked about a device by who serves it block by block: where the rest of it is, and whether anybody still
 * reads.
 */
#include <stdlib.h>

#include "store/store-internal.h"

/* The newest image's: what was fetched last is the likeliest to be there still. */
static int get_origin(struct zp_store *store, const struct zp_digest *device, char **origin, struct zp_error *err) {
        zp_auto(zp_sqlite_release) sqlite3_stmt *s = NULL;
        int r = zp_sql_prepare(
                store,
                "SELECT origin FROM layer_devices JOIN image_layers USING (layer)"
                " JOIN images ON images.manifest_digest = image_layers.image"
                " WHERE device = ? AND origin IS NOT NULL ORDER BY created_s DESC, manifest_digest LIMIT 1",
                &s, err);
        if (r < 0)
                return r;
        zp_sql_bind_digest(s, 1, device);
        r = zp_sql_step(store, s, err);
        return r == 1 && !zp_sql_column_text(s, 0, origin) ? zp_sql_bad_row(store, "images", err) : r;
}

int zp_store_find_device_origin(struct zp_store *store, const struct zp_digest *device, char **origin,
                                struct zp_error *err) {
        *origin = NULL;
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, get_origin(store, device, origin, err), NULL, err);
}

int zp_store_device_is_mounted(struct zp_store *store, const struct zp_digest *device, struct zp_error *err) {
        struct zp_mounts mounts = { 0 };
        int r = zp_store_begin_read(store, err);
        if (r < 0)
                return r;
        r = zp_mounts_read(store, &mounts, err);
        if (r == 0)
                r = zp_mounts_of_device(store, &mounts, device, err);
        zp_mounts_clear(&mounts);
        return zp_store_end(store, r, NULL, err);
}
