/* SPDX-License-Identifier: Apache-2.0
 *
 * Clients that take for ever to say what they want, one byte at a time, hold a connection for ever: this ends them.
 */
#ifndef HOOK_CONNECTIONS_H
#define HOOK_CONNECTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct hook_connections;
/* From `crowd` connections on the patience is HOOK_CROWDED_MS at most, so that those who hold them keep nobody out; not
 * with those of whom something is unread. */
#define HOOK_CROWDED_MS 2000
int hook_connections_new(int64_t patience_ms, size_t crowd, struct hook_connections **out, struct zp_error *err);
void hook_connections_free(struct hook_connections *connections);

/* A connection was made; NULL: out of memory, and nobody watches over it. Any thread, as all here. */
struct hook_connection *hook_connections_add(struct hook_connections *connections, int fd);
/* It is about to be closed. */
void hook_connections_remove(struct hook_connections *connections, struct hook_connection *connection);
/* Whether the client has yet to finish a request (true from the start, and again once an answer is sent), or waits for
 * an answer that may take its time. */
void hook_connections_set_waiting(struct hook_connections *connections, struct hook_connection *connection,
                                  bool is_waiting);
/* Shuts down those that have been waited for longer than the patience lasts. Call once a second. */
void hook_connections_end_slow(struct hook_connections *connections, int64_t monotonic_ms);

#endif
