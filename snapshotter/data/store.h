/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane's questions, answered by a store: all that it asks of the database is in here.
 */
#ifndef SNAP_DATA_STORE_H
#define SNAP_DATA_STORE_H

#include "snapshotter/data/data.h"

struct snap_store;
struct snap_config_data;

/* The store at `path`, which need not be there yet: it is opened when it is first asked. `settings` says which devices
 * are wanted whole, and outlives the store; NULL: none. */
int snap_store_new(const char *path, const struct snap_config_data *settings, struct snap_store **out,
                   struct zp_error *err);
void snap_store_free(struct snap_store *store);
ZP_DEFINE_AUTO(struct snap_store, snap_store_free);

/* For snap_data_options.lookups; good as long as the store. */
struct snap_data_lookups snap_store_lookups(struct snap_store *store);
/* For zp_device_options.is_in_use, `context` being the store: an image with the device is mounted, or that is not
 * known. */
bool snap_store_is_in_use(void *context, const char *hex);

#endif
