/* SPDX-License-Identifier: Apache-2.0
 *
 * SipHash-2-4: a hash for tables whose keys come from outside, so that nobody can prepare collisions.
 */
#ifndef ZP_BASE_SIPHASH_H
#define ZP_BASE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct zp_siphash_key {
        uint64_t words[2];
};

/* A key that differs from process to process and is the same within one. */
struct zp_siphash_key zp_siphash_process_key(void);
uint64_t zp_siphash(struct zp_siphash_key key, const void *data, size_t size);

#endif
