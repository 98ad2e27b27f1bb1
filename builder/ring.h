/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounded ring of buffers from one producing thread to one consuming thread: what lies between
 * inflating a layer and reading its tar.
 */
#ifndef ZP_BUILDER_RING_H
#define ZP_BUILDER_RING_H

#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

#define ZP_RING_BUFFERS 8
#define ZP_RING_BUFFER_SIZE (256u * 1024u)

struct zp_ring;

struct zp_ring *zp_ring_new(void); /* NULL: out of memory */
void zp_ring_free(struct zp_ring *ring);
ZP_DEFINE_AUTO(struct zp_ring, zp_ring_free);

/* Producer: an empty buffer of ZP_RING_BUFFER_SIZE bytes; waits for one. NULL once the consumer has stopped. */
uint8_t *zp_ring_acquire(struct zp_ring *ring);
/* Producer: hands over the buffer last acquired, `size` bytes of it filled (0: nothing to hand over). */
void zp_ring_publish(struct zp_ring *ring, size_t size);
/* Producer: no more comes; `failure` (may be NULL) is what the consumer's next zp_ring_next reports. */
void zp_ring_end(struct zp_ring *ring, const struct zp_error *failure);

/* Consumer: gives back the last buffer and waits for the next. Returns its size, 0 at the end, or the
 * producer's failure. */
int64_t zp_ring_next(struct zp_ring *ring, const uint8_t **data, struct zp_error *err);
/* Consumer: wants no more; a waiting producer wakes up. */
void zp_ring_stop(struct zp_ring *ring);

#endif
