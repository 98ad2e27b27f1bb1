/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct worker {
        struct zp_pool *pool;
        pthread_t thread;
        unsigned number;
};

struct zp_pool {
        pthread_mutex_t lock;
        pthread_cond_t work;
        struct zp_pool_item *first, **last; /* guarded by lock */
        bool is_ending;                     /* guarded by lock */
        unsigned size;
        struct worker workers[];
};

static void *work(void *argument) {
        struct worker *worker = argument;
        struct zp_pool *pool = worker->pool;
        pthread_mutex_lock(&pool->lock);
        for (;;) {
                struct zp_pool_item *item = pool->first;
                if (!item && pool->is_ending)
                        break;
                if (!item) {
                        pthread_cond_wait(&pool->work, &pool->lock);
                        continue;
                }
                pool->first = item->next;
                if (!pool->first)
                        pool->last = &pool->first;
                zp_pool_job job = item->job;
                void *job_argument = item->argument;
                pthread_mutex_unlock(&pool->lock);
                job(job_argument, worker->number);
                pthread_mutex_lock(&pool->lock);
        }
        pthread_mutex_unlock(&pool->lock);
        return NULL;
}

unsigned zp_usable_cpus(void) {
        cpu_set_t set;
        int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : (int) sysconf(_SC_NPROCESSORS_ONLN);
        return count > 0 ? (unsigned) count : 1;
}

int zp_pool_new(unsigned threads, struct zp_pool **out, struct zp_error *err) {
        struct zp_pool *pool = calloc(1, sizeof *pool + threads * sizeof pool->workers[0]);
        if (!pool)
                return zp_error_errno(err, ENOMEM, "worker threads");
        pthread_mutex_init(&pool->lock, NULL);
        pthread_cond_init(&pool->work, NULL);
        pool->last = &pool->first;

        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = 0;
        for (; pool->size < threads && code == 0; pool->size += code == 0) {
                struct worker *worker = &pool->workers[pool->size];
                worker->pool = pool;
                worker->number = pool->size;
                code = pthread_create(&worker->thread, NULL, work, worker);
        }
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (code) {
                zp_pool_free(pool);
                return zp_error_errno(err, code, "start worker thread");
        }
        *out = pool;
        return 0;
}

unsigned zp_pool_size(const struct zp_pool *pool) {
        return pool->size;
}

void zp_pool_submit(struct zp_pool *pool, struct zp_pool_item *item, zp_pool_job job, void *argument) {
        *item = (struct zp_pool_item){ .job = job, .argument = argument };
        pthread_mutex_lock(&pool->lock);
        *pool->last = item;
        pool->last = &item->next;
        pthread_cond_signal(&pool->work);
        pthread_mutex_unlock(&pool->lock);
}

void zp_pool_free(struct zp_pool *pool) {
        if (!pool)
                return;
        pthread_mutex_lock(&pool->lock);
        pool->is_ending = true;
        pthread_cond_broadcast(&pool->work);
        pthread_mutex_unlock(&pool->lock);
        for (unsigned i = 0; i < pool->size; i++)
                pthread_join(pool->workers[i].thread, NULL);
        pthread_cond_destroy(&pool->work);
        pthread_mutex_destroy(&pool->lock);
        free(pool);
}
