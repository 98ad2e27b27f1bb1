/* SPDX-License-Identifier: Apache-2.0
 *
 * What a token is good for: "repository:a/b:pull,push repository:c:pull", resources and the actions on them
 * (distribution's token scope documentation).
 */
#ifndef ZP_OCI_SCOPE_H
#define ZP_OCI_SCOPE_H

#include <stdbool.h>

/* True when `held` has all that is in `wanted`. */
bool zp_scope_covers(const char *held, const char *wanted);
/* All of `wanted`, and as much of `held` as a request may reasonably ask for. malloc'ed; NULL: out of memory. */
char *zp_scope_merge(const char *held, const char *wanted);

#endif
