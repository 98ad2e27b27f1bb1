/* SPDX-License-Identifier: Apache-2.0
 *
 * An image of the store opened for a look: its records, its file system, its files' contents. Nothing is
 * looked at before its digest was compared with the record.
 */
#ifndef ZP_CLI_VIEW_H
#define ZP_CLI_VIEW_H

#include "cli/cli.h"
#include "snapshot/load.h"
#include "store/open-pack.h"

/* Finds the image a person named, as zp_store_lookup_image; a relative path in the name counts from here. */
int cli_lookup(struct zp_store *store, const char *name, struct zp_image_record *out, struct zp_error *err);
/* Opens the store and finds the image a person named. Both are the caller's also on failure (NULL, zeroed). */
int cli_open_image(const struct cli_call *call, enum zp_store_mode mode, const char *name, struct zp_store **store,
                   struct zp_image_record *record, struct zp_error *err);

struct cli_sizes {
        uint64_t packed; /* snapshot metadata, and the packs and indexes of its devices, each once */
        uint64_t here;   /* of that */
        bool is_complete;
        bool is_lost; /* what is not here was damaged, and is to be built again */
};
int cli_image_sizes(struct zp_store *store, const struct zp_image_record *record, struct cli_sizes *out,
                    struct zp_error *err);

/* Finds the device's record and opens its pack. *out is the caller's to close; on failure there is nothing to close. */
int cli_open_pack(struct zp_store *store, const struct zp_digest *device, struct zp_open_pack *out,
                  struct zp_error *err);

/* An error that says how to get the data of an image, when it is that which is missing (-ENODATA). Returns `result`. */
int cli_hint_complete(int result, const char *image, struct zp_error *err);

/* The record of an image's layer; of a device. -ENOENT when there is none. */
int cli_find_layer(struct zp_store *store, const struct zp_image_record *image, uint16_t layer,
                   struct zp_layer_record *out, struct zp_error *err);
int cli_find_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                    struct zp_error *err);

#endif
