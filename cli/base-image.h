/* SPDX-License-Identifier: Apache-2.0
 *
 * The earlier version that `build` compares an image with: --base.
 */
#ifndef ZP_CLI_BASE_IMAGE_H
#define ZP_CLI_BASE_IMAGE_H

#include "cli/progress.h"
#include "cli/source-options.h"
#include "trust/key.h"

struct cli_base_wish {
        const char *text;   /* what --base says; NULL: see below */
        const char *image;  /* the source's name */
        const char *remote; /* where the new snapshot is published; NULL: nowhere */
        const struct zp_source_options *source_options;
        const struct zp_platform *platform;
        struct zp_key *sign_key; /* what will sign the new snapshot must have signed a base that was fetched; NULL */
        int policy_option;
        struct progress *progress;
};

/* What is taken when nobody says: the last image built here under the name `image`; else, for what is published, the
 * nearest earlier version in its repository (by its tag, of three at most) that was built here or whose snapshot is in
 * `remote`, where the new one will find its data. That is given up after CLI_BASE_SEARCH_MS, or when anything goes
 * wrong, with a line of the progress. */
#define CLI_BASE_SEARCH_MS 15000

/* 1: *out is an image in the store, trusted, to be cleared; 0: there is none, or none is wanted. An image that was not
 * built here is fetched (without the data of its devices) or compared with what its repository has, each time, so that
 * its signature is looked at. */
int cli_find_base(struct cli_call *call, const struct cli_base_wish *wish, struct zp_store *store,
                  struct zp_image_record *out, struct zp_error *err);

#endif
