/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs of the user's that print credentials: run with a deadline, their output bounded, their errors unseen.
 */
#ifndef ZP_OCI_HELPER_PROGRAM_H
#define ZP_OCI_HELPER_PROGRAM_H

#include "base/buffer.h"
#include "base/cancel.h"

struct zp_helper_program {
        char *const *arguments;   /* up to a NULL; the first names the program, looked for in $PATH without a '/' */
        char *const *environment; /* up to a NULL; NULL: this process's */
        const char *input;        /* at most 4 KiB */
        const char *missing_hint; /* what to do when it cannot be started */
};

/* Runs it until it has ended and its output was read (at most 256 KiB: -EFBIG); kills it after 30 s (-ETIMEDOUT) and
 * when cancelled. 0: *status is as waitpid(2) gives it, *output is the caller's. No message has output in it. */
int zp_helper_program_run(const struct zp_helper_program *program, const struct zp_cancel *cancel,
                          struct zp_buffer *output, int *status, struct zp_error *err);

#endif
