/* SPDX-License-Identifier: Apache-2.0
 *
 * Start-up profiles as files that users give and get.
 */
#ifndef ZP_CLI_PROFILE_FILE_H
#define ZP_CLI_PROFILE_FILE_H

#include "cli/cli.h"
#include "profile/profile.h"
#include "store/store.h"

/* Adds what a file says to a profile. */
int cli_add_profile(struct zp_profile *profile, const char *file, struct zp_error *err);
/* Reads a profile; `file` NULL: *out stays NULL. */
int cli_load_profile(struct cli_call *call, const char *file, struct zp_profile **out, struct zp_error *err);
/* How much of an image's devices the profile that it was built by puts first: 0 when nothing in it is the image's. */
int cli_profile_effect(struct zp_store *store, const struct zp_image_record *image, uint64_t *bytes,
                       struct zp_error *err);

#endif
