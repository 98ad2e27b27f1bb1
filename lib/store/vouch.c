/* SPDX-License-Identifier: Apache-2.0
 *
 * What an image rests on that others made, and how it becomes as good as what was made here.
 */
#include "store/store-internal.h"

int zp_store_rests_on_fetched(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        static const char sql[] =
                "SELECT 1 FROM image_layers AS i"
                " JOIN conversions AS c ON c.layer = i.layer AND c.diff_id = i.diff_id WHERE i.image = ?1"
                " GROUP BY i.position HAVING min(c.fetched) != 0"
                " UNION ALL SELECT 1 FROM image_layers AS i JOIN layer_devices AS l ON l.layer = i.layer"
                " JOIN devices AS d ON d.digest = l.device WHERE i.image = ?1 AND d.fetched != 0 LIMIT 1";
        int r = zp_store_begin_read(store, err);
        return r < 0 ? r : zp_store_end(store, zp_sql_run_digest(store, sql, manifest_digest, err), NULL, err);
}

int zp_store_vouch(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_error *err) {
        int r = zp_store_begin_write(store, err);
        if (r < 0)
                return r;
        r = zp_sql_run_digest(store,
                              "UPDATE conversions SET fetched = 0 WHERE fetched != 0 AND EXISTS (SELECT 1"
                              " FROM image_layers AS i WHERE i.image = ? AND i.layer = conversions.layer"
                              " AND i.diff_id = conversions.diff_id)",
                              manifest_digest, err);
        if (r >= 0)
                r = zp_sql_run_digest(store,
                                      "UPDATE devices SET fetched = 0 WHERE fetched != 0 AND digest IN (SELECT l.device"
                                      " FROM image_layers AS i JOIN layer_devices AS l ON l.layer = i.layer"
                                      " WHERE i.image = ?)",
                                      manifest_digest, err);
        return zp_store_end(store, r < 0 ? r : 0, NULL, err);
}
