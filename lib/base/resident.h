/* SPDX-License-Identifier: Apache-2.0
 *
 * What a process that runs for months keeps in memory.
 */
#ifndef ZP_BASE_RESIDENT_H
#define ZP_BASE_RESIDENT_H

/* Gives back memory that is free, and lets go of the pages of programs and libraries: what was only used at the start
 * does not come back, what is used does at once, from the page cache. Costs less than a millisecond; for moments when
 * nothing goes on. Thread-safe. */
void zp_resident_rest(void);

#endif
