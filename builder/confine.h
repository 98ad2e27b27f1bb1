/* SPDX-License-Identifier: Apache-2.0
 *
 * Gives up, for good, what a build does not need, before it parses a byte of a layer.
 */
#ifndef ZP_BUILDER_CONFINE_H
#define ZP_BUILDER_CONFINE_H

#include "base/error.h"

/* From here on the calling thread, and every thread it starts, may write below `store` only, read there, below
 * `source` (a file or directory; NULL: none) and what name resolution and TLS need, execute nothing, gain no
 * privilege, and has no capability but CAP_DAC_OVERRIDE (where it had it): Landlock, no_new_privs, capset. So call it
 * while the process has one thread.
 *
 * A kernel without a Landlock that fits (before 5.19, or switched off) still drops the rest; *landlock_abi (may be NULL) is
 * then 0. Fails only when the kernel has a mechanism and refuses to apply it. */
int zp_confine(const char *store, const char *source, int *landlock_abi, struct zp_error *err);

#endif
