/* SPDX-License-Identifier: Apache-2.0
 *
 * The directory of local copies as a guest on its disk: what it leaves to others, and how it makes room for them. For
 * whoever needs room, in the process that fills the directory or in another one.
 */
#ifndef ZP_DEVICE_CACHE_H
#define ZP_DEVICE_CACHE_H

#include <stdbool.h>
#include <stdint.h>

/* A sixteenth of the disk, at most 1 GiB, is left to others: copies can be had again, and what containers and the
 * records of them need cannot. Returns how many bytes are missing to that; 0: none, or it cannot be seen. */
uint64_t zp_cache_shortage(int cache_fd);

/* Removes copies, those used longest ago first, until they took `bytes` or all that are left are in use. Returns how
 * many. A process that has a copy open goes on with it, and its room is free when it is closed. */
unsigned zp_cache_make_room(int cache_fd, uint64_t bytes, bool (*is_in_use)(void *context, const char *hex),
                            void *context);

#endif
