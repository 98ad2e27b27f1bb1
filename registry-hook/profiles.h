/* SPDX-License-Identifier: Apache-2.0
 *
 * Start-up profiles that nodes report, kept and merged per repository, so that its next build is laid out by them.
 */
#ifndef HOOK_PROFILES_H
#define HOOK_PROFILES_H

#include "profile/profile.h"
#include "registry-hook/sql.h"

/* So many reports are merged, and as many partial ones: what an old one alone knows of is forgotten after as many new
 * ones of its kind, so that nodes which do not see all that is read cannot have it forgotten. */
#define HOOK_PROFILE_REPORTS 8

struct hook_profile_report {
        const char *repository; /* "host/repository" */
        const char *text, *digest;
        bool is_partial; /* part of the image was on the node, and read unseen */
        int64_t now_ms;
};
/* A hook_db_write's work. The same report again is the latest, and once it was not partial, it is not. */
int hook_profiles_add(sqlite3 *db, void *report, struct zp_error *err);
/* All reports as one profile: the latest first, as it was, and behind it what only others know of. *out NULL: there is
 * none. */
int hook_profiles_merge(sqlite3 *db, const char *repository, struct zp_profile **out, struct zp_error *err);

#endif
