/* SPDX-License-Identifier: Apache-2.0
 *
 * Work in a process of its own: for what gives up rights for good, when there is more to do afterwards.
 */
#ifndef ZP_CLI_CHILD_H
#define ZP_CLI_CHILD_H

#include "base/cancel.h"

/* Runs `work` in a child process and waits for it. Returns what it returned, with its error; a cancelled caller asks
 * the child to stop, and it never outlives this process. The caller has one thread; what it opened of a store is not
 * for the child. */
int cli_in_child(int (*work)(void *context, struct zp_error *err), void *context, const struct zp_cancel *cancel,
                 struct zp_error *err);

#endif
