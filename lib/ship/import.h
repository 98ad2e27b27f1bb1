/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes an image's snapshot over from another store on this machine, without its data.
 */
#ifndef ZP_SHIP_IMPORT_H
#define ZP_SHIP_IMPORT_H

#include "base/cancel.h"
#include "store/store.h"

/* Copies the image's metadata, layers and indexes that `into` does not have. They are checked as what comes from a
 * registry is: each file against its digest, the image's configuration against its manifest, the layers against the
 * configuration, metadata against its devices. That a layer is a faithful conversion is `from`'s word, as it is the
 * word of whoever published an artifact; so nobody who wants signatures takes it from here. `name` and `origin`: what
 * the image is called, and where data can be fetched that nobody has. 1, or 0: `from` does not have it. -EBADMSG. */
int zp_import(struct zp_store *from, struct zp_store *into, const struct zp_digest *manifest_digest, const char *name,
              const char *origin, const struct zp_cancel *cancel, struct zp_error *err);

#endif
