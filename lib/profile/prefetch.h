/* SPDX-License-Identifier: Apache-2.0
 *
 * Which ranges of a snapshot's devices a start needs, in the order of their first use: what a node fetches before
 * anything asks for it. Format: docs/profiles.md.
 */
#ifndef ZP_PROFILE_PREFETCH_H
#define ZP_PROFILE_PREFETCH_H

#include "layer/tree.h"
#include "profile/profile.h"

struct zp_prefetch_device {
        struct zp_digest digest;
        uint64_t size;       /* bytes */
        uint32_t frame_size; /* bytes; 0 of all devices of a list: that does not matter */
};

struct zp_prefetch_range {
        struct zp_digest device;
        uint64_t offset, length; /* bytes of the uncompressed device; length > 0 */
};

struct zp_prefetch {
        struct zp_prefetch_range *ranges; /* the caller's, malloc'ed; NULL when there are none */
        uint32_t count;
        bool is_guess; /* of what nobody has seen: what it names lies wherever it lies */
};
void zp_prefetch_clear(struct zp_prefetch *prefetch);

/* Where the profile's entries lie on the devices of a snapshot. `tree` is the snapshot's, whose extents' device numbers
 * index `devices`. What the tree does not have (or has in the metadata) needs no range. Ranges are whole blocks; on one
 * device none lies over another. Without frame sizes neighbours are joined until few ranges are left, as long as that
 * adds no more than a fifth. Otherwise what is read of one frame is one range, and only what is read one behind the
 * other is joined, so that nothing goes before what is needed sooner. */
int zp_prefetch_map(const struct zp_profile *profile, const struct zp_tree *tree,
                    const struct zp_prefetch_device *devices, uint16_t device_count, struct zp_prefetch *out,
                    struct zp_error *err);

/* Appends the list as JSON: the same list gives the same text. */
int zp_prefetch_format(const struct zp_prefetch *prefetch, struct zp_buffer *out, struct zp_error *err);
/* Reads such a text; each range must lie on one of the devices. -EBADMSG. */
int zp_prefetch_parse(const char *text, size_t size, const char *name, const struct zp_prefetch_device *devices,
                      uint16_t device_count, struct zp_prefetch *out, struct zp_error *err);

#endif
