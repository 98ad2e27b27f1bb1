/* SPDX-License-Identifier: Apache-2.0
 *
 * One question and one answer on a connection, credentials among them: each side says all it has to say, and ends.
 */
#ifndef SNAP_EXCHANGE_H
#define SNAP_EXCHANGE_H

#include "base/buffer.h"
#include "base/cancel.h"

/* How long a send or receive may stand still. */
void snap_exchange_set_patience(int fd, unsigned timeout_ms);
bool snap_exchange_send(int fd, const char *data, size_t size);
/* What the other side sends until it ends, to be wiped; false: it does not, or says more than `limit` bytes. */
bool snap_exchange_receive(int fd, size_t limit, struct zp_buffer *out);
/* The same; it ends by then (zp_clock_ms()) however the other side says it, and when it is cancelled. */
bool snap_exchange_receive_by(int fd, size_t limit, uint64_t until_ms, const struct zp_cancel *cancel,
                              struct zp_buffer *out);
void snap_exchange_wipe(struct zp_buffer *buffer);

#endif
