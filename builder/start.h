/* SPDX-License-Identifier: Apache-2.0
 *
 * What an image's start-up profile leaves beside its snapshot: the profile, and where its ranges lie. Without a
 * profile, one is guessed, of which only the ranges stay.
 */
#ifndef ZP_BUILDER_START_H
#define ZP_BUILDER_START_H

#include "profile/prefetch.h"
#include "store/store.h"

/* Writes "profile" and "prefetch.json" into `staging`, whose snapshot.erofs is `fd` and `size` bytes long. */
int zp_start_write(struct zp_staging *staging, int fd, uint64_t size, const struct zp_profile *profile,
                   struct zp_error *err);
/* Writes "prefetch.json" by a guess, if there is anything to guess. The data is the store's; what of it is not there,
 * or cannot be read, is not looked into. `config` is the image's. */
int zp_start_write_guess(struct zp_staging *staging, struct zp_store *store, int fd, uint64_t size, const char *config,
                         size_t config_size, const struct zp_cancel *cancel, struct zp_error *err);
/* The profile that an image in the store was built by; *out is NULL when there was none. */
int zp_start_read_profile(struct zp_store *store, const struct zp_digest *manifest_digest, struct zp_profile **out,
                          struct zp_error *err);
/* The prefetch list of an image in the store, whose devices those are. 1: read; 0: it has none. */
int zp_start_read_list(struct zp_store *store, const struct zp_digest *manifest_digest,
                       const struct zp_prefetch_device *devices, uint16_t device_count, struct zp_prefetch *out,
                       struct zp_error *err);

#endif
