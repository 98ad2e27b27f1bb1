/* SPDX-License-Identifier: Apache-2.0
 *
 * A start-up profile: which ranges of which files a start reads, in order of first use. Format: docs/profiles.md.
 */
#ifndef ZP_PROFILE_PROFILE_H
#define ZP_PROFILE_PROFILE_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/digest.h"

#define ZP_PROFILE_WHOLE UINT64_MAX

struct zp_profile_entry {
        const char *path; /* inside the image, as zp_path_clean leaves it: no '/' at either end */
        uint64_t offset;
        uint64_t length; /* > 0; ZP_PROFILE_WHOLE: to the end of the file, wherever that is */
};

struct zp_profile;

struct zp_profile *zp_profile_new(void); /* NULL: out of memory */
void zp_profile_free(struct zp_profile *profile);
ZP_DEFINE_AUTO(struct zp_profile, zp_profile_free);

/* Adds a read after all others; one that an earlier entry holds entirely is left out. -EINVAL: the path is the root's
 * or the range impossible; -ENAMETOOLONG; -E2BIG: more than ZP_LIMIT_PROFILE_ENTRIES. */
int zp_profile_add(struct zp_profile *profile, const char *path, uint64_t offset, uint64_t length,
                   struct zp_error *err);
/* Adds what a file in the profile format says. `name` is for messages, which tell the line. -EBADMSG: malformed, or
 * as above. */
int zp_profile_parse(struct zp_profile *profile, const char *text, size_t size, const char *name, struct zp_error *err);
/* Appends all entries in the file format to `out`: the same profile gives the same text. */
int zp_profile_format(const struct zp_profile *profile, struct zp_buffer *out, struct zp_error *err);
/* The SHA-256 of that text: what names a profile. */
int zp_profile_digest(const struct zp_profile *profile, struct zp_digest *out, struct zp_error *err);

/* The entries in order of first use. */
const struct zp_profile_entry *zp_profile_entries(const struct zp_profile *profile, uint32_t *count);
/* The numbers of a path's entries, ascending; NULL: it has none. `path` as in an entry. Good until one is added. */
const uint32_t *zp_profile_find(const struct zp_profile *profile, const char *path, uint32_t *count);

#endif
