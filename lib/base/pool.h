/* SPDX-License-Identifier: Apache-2.0
 *
 * A pool of worker threads with a queue.
 */
#ifndef ZP_BASE_POOL_H
#define ZP_BASE_POOL_H

#include "base/cleanup.h"
#include "base/error.h"

struct zp_pool;

/* Runs on worker thread number `worker` (0 ≤ worker < zp_pool_size()): a job may keep things of its own
 * per worker without a lock. */
typedef void (*zp_pool_job)(void *argument, unsigned worker);

/* As many threads as the process may use: its CPU affinity counts, not the machine's size. */
unsigned zp_usable_cpus(void);

/* `threads` ≥ 1. Signals stay blocked in the workers. */
int zp_pool_new(unsigned threads, struct zp_pool **out, struct zp_error *err);
unsigned zp_pool_size(const struct zp_pool *pool);
/* Queues a job; jobs start in the order they were queued. Whoever submits bounds how many are under
 * way. The job is embedded in the caller's own object, so submitting cannot fail. */
struct zp_pool_item {
        struct zp_pool_item *next;
        zp_pool_job job;
        void *argument;
};
void zp_pool_submit(struct zp_pool *pool, struct zp_pool_item *item, zp_pool_job job, void *argument);
/* Finishes what is queued, ends the threads, frees. */
void zp_pool_free(struct zp_pool *pool);
ZP_DEFINE_AUTO(struct zp_pool, zp_pool_free);

#endif
