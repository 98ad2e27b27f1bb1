/* SPDX-License-Identifier: Apache-2.0
 *
 * The requests a server has received and not answered, in memory that outlives it: for kernels that cannot send them
 * again. The kernel writes each request straight into the journal, so there is no moment in which only the server knew
 * of it. From there it goes into a slot, where it stays until it is answered.
 */
#ifndef ZP_BLOCKFS_JOURNAL_H
#define ZP_BLOCKFS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

struct zp_journal;
struct zp_journal_slot;

/* The file at `path` is made when it is not there. One that is not a journal of this kind, as another version's, is moved
 * to PATH.old. */
int zp_journal_open(const char *path, struct zp_journal **out, struct zp_error *err);
void zp_journal_close(struct zp_journal *journal);

/* read(2) by way of the journal. Thread `number` (below ZP_JOURNAL_THREADS). *slot is the request's, NULL when it needs
 * no answer or there is no room. */
#define ZP_JOURNAL_THREADS 8
ssize_t zp_journal_read(struct zp_journal *journal, unsigned number, int fd, void *buffer, size_t size,
                        struct zp_journal_slot **slot);
/* It is answered. NULL is allowed. Any thread. */
void zp_journal_done(struct zp_journal_slot *slot);

/* What the last server left: calls `replay` for each request, which then is this server's. Before any thread reads. */
void zp_journal_replay(struct zp_journal *journal,
                       void (*replay)(void *context, void *request, size_t size, struct zp_journal_slot *slot),
                       void *context);

#endif
