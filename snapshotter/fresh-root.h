/* SPDX-License-Identifier: Apache-2.0
 *
 * A root directory that is made for a start which is then refused goes again, with the directories above it that were
 * made for it: a wrong setting leaves nothing behind.
 */
#ifndef SNAP_FRESH_ROOT_H
#define SNAP_FRESH_ROOT_H

/* Before it is made: the topmost directory of its path that is not there yet, malloc'ed. NULL: all are there. */
char *snap_fresh_root(const char *root);
/* After the start was refused, with the same `root`; `fresh` is what the above returned. A root with snapshots in it
 * stays, and one that somebody has locked. */
void snap_fresh_root_take_back(const char *root, const char *fresh);

#endif
