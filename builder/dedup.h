/* SPDX-License-Identifier: Apache-2.0
 *
 * Which file contents a layer device already holds, so that each is stored once.
 *
 * Contents are told apart by size and a 128-bit GMAC under a random key that never leaves the process. GHASH is
 * a universal hash: whoever makes an image cannot know the key, so cannot make two contents collide; by chance
 * two contents of up to 8 TiB do with a probability below 2^-87. That costs a tenth of a SHA-256 and keeps the
 * output independent of the key.
 */
#ifndef ZP_BUILDER_DEDUP_H
#define ZP_BUILDER_DEDUP_H

#include "layer/tree.h"

#define ZP_CONTENT_HASH_SIZE 16

struct zp_content_key {
        uint64_t size;
        uint8_t hash[ZP_CONTENT_HASH_SIZE];
};

struct zp_dedup;

int zp_dedup_new(struct zp_dedup **out, struct zp_error *err);
void zp_dedup_free(struct zp_dedup *dedup);
ZP_DEFINE_AUTO(struct zp_dedup, zp_dedup_free);

/* Hashes one content piece by piece: begin, any number of updates, end. */
void zp_dedup_hash_begin(struct zp_dedup *dedup);
void zp_dedup_hash_update(struct zp_dedup *dedup, const void *data, size_t size);
void zp_dedup_hash_end(struct zp_dedup *dedup, uint64_t content_size, struct zp_content_key *out);

/* The first file with that content, or NULL: its extents are where the content lies. */
const struct zp_inode *zp_dedup_find(const struct zp_dedup *dedup, const struct zp_content_key *key);
/* True when some content of that size is known: whoever writes such a one may have to take it back. */
bool zp_dedup_knows_size(const struct zp_dedup *dedup, uint64_t size);
/* Records where a content lies. The inode must outlive the table. */
int zp_dedup_add(struct zp_dedup *dedup, const struct zp_content_key *key, const struct zp_inode *inode,
                 struct zp_error *err);

#endif
