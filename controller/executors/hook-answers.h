/* SPDX-License-Identifier: Apache-2.0
 *
 * What zeropull-hook's answers (docs/hook-openapi.json) mean for a build.
 */
#ifndef CTL_HOOK_ANSWERS_H
#define CTL_HOOK_ANSWERS_H

#include "controller/executor.h"

/* One build; all but out->id. False: it is of another image than `digest`. */
bool ctl_hook_read_build(json_t *build, const char *digest, struct ctl_build *out);
/* A decision that leads to no build: the state, and why. */
void ctl_hook_read_refusal(json_t *decision, struct ctl_build *out);
/* The snapshot of `digest` in a list of what is published. False: it is not there. */
bool ctl_hook_read_snapshots(json_t *answer, const char *digest, struct ctl_build *out);

#endif
