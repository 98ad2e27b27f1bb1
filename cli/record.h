/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs an image's program on its snapshot and sees which blocks are read.
 */
#ifndef ZP_CLI_RECORD_H
#define ZP_CLI_RECORD_H

#include "base/cancel.h"
#include "cli/view.h"
#include "profile/trace.h"

struct cli_recording {
        struct zp_store *store;
        const struct zp_image_record *image;
        const struct zp_loaded *tree; /* the image's snapshot */
        char *const *command;         /* NULL-terminated; empty: the image's own */
        unsigned seconds;             /* the program is ended after so long; 0: it ends by itself */
        const struct zp_cancel *cancel;
        struct zp_trace *trace; /* what is read is noted here */
        bool with_read_ahead;   /* in: let the kernel read ahead; out: it did, perhaps because it could not be told */
};

/* Takes root, and runc. The program sees a root file system it can write to, an own network without a way out, and
 * the image's environment; its output goes to stderr. All that is mounted for it is in a mount namespace that ends with
 * this process, and so does the program. -ECHILD: the program failed. */
int cli_record(struct cli_recording *recording, struct zp_error *err);

#endif
