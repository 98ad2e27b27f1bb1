/* SPDX-License-Identifier: Apache-2.0
 *
 * What is to be looked at next. A key is in the queue once, however often it was added, and no two workers have the
 * same one at a time: what is added while a worker has it comes again when that worker is done.
 */
#ifndef CTL_QUEUE_H
#define CTL_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/error.h"

/* With its final NUL. */
#define CTL_QUEUE_KEY_SIZE 320
/* How long after a failure the same key is tried again: doubled each time in a row. */
#define CTL_QUEUE_BACKOFF_FIRST_MS 1000
#define CTL_QUEUE_BACKOFF_LAST_MS 300000

/* Any thread. */
struct ctl_queue;
/* `now_ms`: the clock, NULL for CLOCK_MONOTONIC; ctl_queue_take() waits by CLOCK_MONOTONIC in any case. */
int ctl_queue_new(uint64_t (*now_ms)(void), struct ctl_queue **out, struct zp_error *err);
void ctl_queue_free(struct ctl_queue *queue);
ZP_DEFINE_AUTO(struct ctl_queue, ctl_queue_free);

/* Each: a key for which there is no memory is lost; false then. */
bool ctl_queue_add(struct ctl_queue *queue, const char *key);
/* Not before so many milliseconds are over, unless it is added for an earlier time. */
bool ctl_queue_add_after(struct ctl_queue *queue, const char *key, uint64_t delay_ms);
/* After a failure. */
bool ctl_queue_add_failed(struct ctl_queue *queue, const char *key);
/* It went well: the next failure is the first. */
void ctl_queue_succeeded(struct ctl_queue *queue, const char *key);

/* The next one, first come first served; to be given back by ctl_queue_done(). False: none is due. */
bool ctl_queue_try(struct ctl_queue *queue, char key[CTL_QUEUE_KEY_SIZE]);
/* The same, waiting for it. False: the queue was closed. */
bool ctl_queue_take(struct ctl_queue *queue, char key[CTL_QUEUE_KEY_SIZE]);
void ctl_queue_done(struct ctl_queue *queue, const char *key);
/* Nobody gets any more of it. */
void ctl_queue_close(struct ctl_queue *queue);

struct ctl_queue_statistics {
        size_t ready, waiting, running; /* now */
        uint64_t added, failed;
};
struct ctl_queue_statistics ctl_queue_statistics(struct ctl_queue *queue);

#endif
