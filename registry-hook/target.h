/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a snapshot goes, when that is another registry than its image's.
 */
#ifndef HOOK_TARGET_H
#define HOOK_TARGET_H

#include "registry-hook/config.h"

/* The entry of where the snapshot goes (a remote's name); `otherwise`, the image's own, where there is none, or no
 * registry. */
const struct hook_registry *hook_target_registry(const struct hook_config *config, const char *target,
                                                 const struct hook_registry *otherwise);
/* One build speaks to both in one way, by the image's entry; the target's may leave 'ca-file' out. -EINVAL: theirs
 * contradict each other. */
int hook_target_check(const struct hook_registry *image, const struct hook_registry *target, struct zp_error *err);

#endif
