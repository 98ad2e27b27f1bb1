/* SPDX-License-Identifier: Apache-2.0
 *
 * Work in a process of its own: for what gives up rights for good, when there is more to do afterwards.
 */
#ifndef ZP_CLI_CHILD_H
#define ZP_CLI_CHILD_H

#include <stdint.h>

#include "base/cancel.h"

/* Runs `work` in a child process and waits for it. Returns what it returned, with its error; a cancelled caller asks
 * the child to stop, and it never outlives this process. The caller has one thread; what it opened of a store is not
 * for the child. */
int cli_in_child(int (*work)(void *context, struct zp_error *err), void *context, const struct zp_cancel *cancel,
                 struct zp_error *err);
/* The same, but the child is asked to stop as well at `deadline_ms` by cli_now_ms(), and then it is -ETIMEDOUT. */
int cli_in_child_until(uint64_t deadline_ms, int (*work)(void *context, struct zp_error *err), void *context,
                       const struct zp_cancel *cancel, struct zp_error *err);
/* Milliseconds of a clock that only ever goes forward. */
uint64_t cli_now_ms(void);

#endif
