/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives up, for good, what work on bytes from outside does not need, before it parses the first of them.
 */
#ifndef ZP_BASE_CONFINE_H
#define ZP_BASE_CONFINE_H

#include "base/error.h"

#define ZP_CONFINE_PATHS 4

/* Files or directories that stay within reach; NULL ones are skipped, and those that do not exist. */
struct zp_confinement {
        const char *writable[ZP_CONFINE_PATHS]; /* readable as well */
        const char *readable[ZP_CONFINE_PATHS];
};

/* From here on the calling thread, and every thread it starts, reaches only these paths and what name resolution and
 * TLS read, executes nothing, gains no privilege, and has no capability but CAP_DAC_OVERRIDE (where it had it):
 * Landlock, no_new_privs, capset. So call it while the process has one thread.
 *
 * A kernel without a Landlock that fits (before 5.19, or switched off) still drops the rest; *landlock_abi (may be
 * NULL) is then 0. Fails only when the kernel has a mechanism and refuses to apply it, which is also what a system call
 * filter looks like that does not know Landlock. */
int zp_confine(const struct zp_confinement *within, int *landlock_abi, struct zp_error *err);

/* Which Landlock zp_confine would find: its ABI, 0 when there is none that fits, or the error it would fail with. */
int zp_confine_landlock_abi(struct zp_error *err);

#endif
