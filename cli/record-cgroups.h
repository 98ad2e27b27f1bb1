/* SPDX-License-Identifier: Apache-2.0
 *
 * The control groups of recordings: runc makes them, called as the container, and takes them away, unless a recording
 * is killed. Whose they were can be read off their names.
 */
#ifndef ZP_CLI_RECORD_CGROUPS_H
#define ZP_CLI_RECORD_CGROUPS_H

/* A name for this process's container, like nobody else's; `unique` is a part of it. malloc'ed. */
char *cli_container_name(const char *unique);
/* Removes the groups of recordings whose process is gone, where this process's would be made. One that still has
 * processes stays. */
void cli_sweep_cgroups(void);

#endif
