/* SPDX-License-Identifier: Apache-2.0
 *
 * Where systemd keeps descriptors for a service that is restarted, Kubernetes has nothing: with a pod everything goes.
 * The keeper is a process of another pod that does nothing else. What it keeps lives until it is replaced or the keeper
 * ends.
 *
 * A message is one packet (SOCK_SEQPACKET): "keep NAME" with a descriptor; "take NAME", answered with "NAME" and a
 * copy, or with "none".
 */
#ifndef NODE_KEEPER_H
#define NODE_KEEPER_H

#include <stddef.h>

#include "base/cancel.h"
#include "base/error.h"

#define NODE_KEPT_MAX 8
#define NODE_KEPT_NAME_MAX 32

/* Serves at `socket` (mode 0600; one that nobody listens at is replaced) until it is cancelled. */
int node_keeper_run(const char *socket, const struct zp_cancel *cancel, struct zp_error *err);

/* A connection; -ECONNREFUSED, -ENOENT: nobody is there. */
int node_keeper_connect(const char *socket, struct zp_error *err);
/* The keeper gets a copy of `fd`. `name`: letters. */
int node_keeper_keep(int connection, const char *name, int fd, struct zp_error *err);
/* A copy of what was kept, -ENOENT: nothing; waits for the answer for two seconds. */
int node_keeper_take(int connection, const char *name, struct zp_error *err);

/* One packet of text: up to `size` - 1 bytes and a NUL; *fd is a descriptor that came with it, or -1. 0: the other end
 * has gone. */
int node_packet_receive(int socket, char *text, size_t size, int *fd, struct zp_error *err);

#endif
