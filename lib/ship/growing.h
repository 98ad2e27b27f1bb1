/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack that is sent while it is being made. One side says how much of it is final, the other sends.
 */
#ifndef ZP_SHIP_GROWING_H
#define ZP_SHIP_GROWING_H

#include "base/cancel.h"
#include "remote/remote.h"

struct zp_growing;

/* The pack is written to `fd`, which is duplicated. */
int zp_growing_new(int fd, struct zp_growing **out, struct zp_error *err);
/* Nobody sends it any more. */
void zp_growing_free(struct zp_growing *growing);
ZP_DEFINE_AUTO(struct zp_growing, zp_growing_free);

/* The maker's side; from any thread, nothing here waits. */

/* The first `size` bytes are final. A smaller number than before changes nothing. */
void zp_growing_extend(struct zp_growing *growing, uint64_t size);
/* The pack is complete, and so large; or it never will be. Only the first of these counts. */
void zp_growing_complete(struct zp_growing *growing, uint64_t size);
void zp_growing_abandon(struct zp_growing *growing);

/* The sender's side. */

struct zp_growing_sending {
        struct zp_remote *remote;
        const struct zp_cancel *cancel;                       /* looked at whenever something is read */
        void (*progress)(void *context, uint64_t bytes_sent); /* NULL: nobody wants to know */
        void *context;
};

/* Sends it, once; returns when the remote has it all, under `digest`. The digest is computed as the pack grows, so that
 * nothing has to be read again at the end. *sent counts what went over the wire, also in vain. -ECANCELED: it was
 * abandoned, or the sending was cancelled. */
int zp_growing_send(struct zp_growing *growing, const struct zp_growing_sending *sending, struct zp_digest *digest,
                    uint64_t *sent, struct zp_error *err);

#endif
