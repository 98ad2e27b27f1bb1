/* SPDX-License-Identifier: Apache-2.0
 *
 * What a build is given that the service knows of its repository: the image before it, and what nodes reported.
 */
#ifndef HOOK_GIFTS_H
#define HOOK_GIFTS_H

#include "registry-hook/config.h"
#include "registry-hook/db.h"
#include "registry-hook/queue.h"

struct hook_gifts {
        char previous[ZP_DIGEST_TEXT_SIZE]; /* "": there was none */
        char *profile;                      /* a file below STATE/profiles; NULL: there is none */
        char *auths;                        /* likewise, below STATE/auths: what came with the wish for the build */
};
/* That something cannot be had is logged, and no reason not to build. */
void hook_gifts_find(struct hook_db *db, const char *state, const struct hook_config *config,
                     const struct hook_build *build, struct hook_gifts *out);
void hook_gifts_clear(struct hook_gifts *gifts);
/* Removes the files once the build is over. */
void hook_gifts_take_back(const char *state, int64_t build);
/* When no build runs yet: removes the credentials of those during which the service died. */
int hook_gifts_recover(const char *state, struct zp_error *err);

#endif
