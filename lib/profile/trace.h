/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes a profile of the reads of a snapshot's devices.
 */
#ifndef ZP_PROFILE_TRACE_H
#define ZP_PROFILE_TRACE_H

#include "layer/tree.h"
#include "profile/prefetch.h"

struct zp_trace;

/* `tree` is the snapshot's and outlives this; its devices, numbered as its extents have them, have that many blocks. */
int zp_trace_new(const struct zp_tree *tree, const uint64_t *device_blocks, uint16_t device_count,
                 struct zp_trace **out, struct zp_error *err);
void zp_trace_free(struct zp_trace *trace);
ZP_DEFINE_AUTO(struct zp_trace, zp_trace_free);

/* These bytes of a device were read. What was read before, or lies past its end, does not count. Thread-safe. */
void zp_trace_note(struct zp_trace *trace, uint16_t device, uint64_t offset, uint64_t size);
/* Blocks noted so far. */
uint64_t zp_trace_blocks(struct zp_trace *trace);
/* Of these, the blocks that no range of the list has; `devices` (by number) are the list's names for the trace's. */
uint64_t zp_trace_blocks_outside(struct zp_trace *trace, const struct zp_prefetch_device *devices,
                                 const struct zp_prefetch *list);
/* Adds what was read to a profile, in order: of contents that several files share, as ranges of
 * each of them; of a file with many names, as ranges of the first four. */
int zp_trace_profile(struct zp_trace *trace, struct zp_profile *profile, struct zp_error *err);

#endif
