/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs zeropull, which does the work: what hostile bytes could do to it, they do not do to the agent.
 */
#ifndef NODE_CHILD_H
#define NODE_CHILD_H

#include "base/buffer.h"
#include "base/cancel.h"

#define NODE_REASON_SIZE 512

/* Where the child finds `secret`. */
#define NODE_SECRET_PATH "/proc/self/fd/3"

struct node_run {
        const char *const *argv; /* NULL-terminated; the program's path first */
        const char *secret;      /* for its eyes only, in a file that has no name: NODE_SECRET_PATH; NULL: none */
        unsigned timeout_s;
        const struct zp_cancel *cancel;
        /* What it says on stderr in lines of JSON, which are no talk; NULL: nobody wants that. In node_run(). */
        void (*told)(void *context, const char *line);
        void *context;
};

struct node_outcome {
        int exit_code;                 /* -1: it was ended by a signal */
        struct zp_buffer output;       /* its stdout, at most 8 MiB */
        char reason[NODE_REASON_SIZE]; /* what it said last on stderr, without its name; "" */
};

/* Waits for it. 0 however it ended; -ETIMEDOUT, -ECANCELED: it was told to end, and ten seconds later killed; -EFBIG:
 * it wrote too much. *out is to be cleared in any case. Any thread. */
int node_run(const struct node_run *run, struct node_outcome *out, struct zp_error *err);
void node_outcome_clear(struct node_outcome *outcome);
#define node_autooutcome __attribute__((cleanup(node_outcome_clear)))

#endif
