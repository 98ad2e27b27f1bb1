/* SPDX-License-Identifier: Apache-2.0
 *
 * What the queue's files share.
 */
#ifndef HOOK_QUEUE_INTERNAL_H
#define HOOK_QUEUE_INTERNAL_H

#include "registry-hook/queue.h"

/* The row's requested_by with one more who asks, or several. What is too long for QUEUE_NAME_SIZE is cut off. */
#define ALSO_REQUESTED_BY(who)                                                                     \
        "CASE WHEN instr(', ' || requested_by || ', ', ', ' || " who " || ', ') THEN requested_by" \
        " WHEN instr(', ' || " who " || ', ', ', ' || requested_by || ', ') THEN " who             \
        " ELSE substr(requested_by || ', ' || " who ", 1, 127) END"

/* In the place of a tag for whose sake a build is made; no tag is called so. */
#define BUILD_WISHED ""    /* somebody asked for the very image */
#define BUILD_UNTAGGED "@" /* it was pushed by digest, and no tag of the repository was told of yet */

#endif
