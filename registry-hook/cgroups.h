/* SPDX-License-Identifier: Apache-2.0
 *
 * A cgroup for each build, where a part of the tree was delegated to the service (version 2; systemd's Delegate=):
 * limits that hold for all processes of a build together.
 */
#ifndef HOOK_CGROUPS_H
#define HOOK_CGROUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

struct hook_cgroups;

/* Takes over the cgroup that this process is in: moves the process into one below it ("service"), hands the memory and
 * pids controllers on, and removes what builds of an earlier service have left. Only of a cgroup that was given to us:
 * it is marked as delegated (the xattr user.delegate or trusted.delegate is "1"), or another user than root may write
 * to it.
 *
 * Returns 0; an error says why there are none, and then nothing was changed. */
int hook_cgroups_open(struct hook_cgroups **out, struct zp_error *err);
void hook_cgroups_free(struct hook_cgroups *cgroups);
ZP_DEFINE_AUTO(struct hook_cgroups, hook_cgroups_free);

struct hook_cgroup {
        int fd; /* for CLONE_INTO_CGROUP; the caller's to hook_cgroup_end */
        uint64_t number;
};
/* Memory in bytes, page cache and swap included; 0: no limit. One thread at a time, as is the next. */
int hook_cgroup_make(struct hook_cgroups *cgroups, uint64_t memory, uint64_t processes, struct hook_cgroup *out,
                     struct zp_error *err);
/* Kills what is in it and removes it. True: the kernel had to kill for want of memory. */
bool hook_cgroup_end(struct hook_cgroups *cgroups, struct hook_cgroup *cgroup);

#endif
