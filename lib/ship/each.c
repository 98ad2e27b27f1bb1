/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of a pull side by side.
 */
#include <limits.h>
#include <stdlib.h>

#include "ship/pull-internal.h"

/* A repository says how large a part is, and may mean it: each alone stays below its limit, sixty at a time do not. */
#define MEMORY_MAX (UINT64_C(1) << 30)

struct each {
        struct zp_pull *pull;
        zp_pull_work work;
        unsigned count;
        unsigned next; /* guarded by pull->lock */
};

static void *do_some(void *context) {
        struct each *each = context;
        struct zp_pull *p = each->pull;
        for (;;) {
                pthread_mutex_lock(&p->lock);
                unsigned number = each->next < each->count ? each->next++ : UINT_MAX;
                pthread_mutex_unlock(&p->lock);
                struct zp_error err = { 0 };
                if (number == UINT_MAX || zp_cancelled(&p->stop))
                        return NULL;
                if (each->work(p, number, &err) == 0)
                        continue;
                pthread_mutex_lock(&p->lock);
                if (p->first_error.code == 0) /* the others stop because of it */
                        p->first_error = err;
                pthread_mutex_unlock(&p->lock);
                atomic_store(&p->stop.requested, true);
        }
}

int zp_pull_each(struct zp_pull *p, unsigned count, unsigned threads, zp_pull_work work, struct zp_error *err) {
        struct each each = { p, work, count, 0 };
        unsigned started = 0;
        zp_autofree pthread_t *others = calloc(threads, sizeof *others);
        if (!others)
                return zp_error_errno(err, ENOMEM, "pull");
        /* fewer threads than wanted are no failure: this one does the rest */
        while (started + 1 < threads && started + 1 < count &&
               pthread_create(&others[started], NULL, do_some, &each) == 0)
                started++;
        do_some(&each);
        for (unsigned i = 0; i < started; i++)
                pthread_join(others[i], NULL);
        int r = zp_check_cancel(p->options->cancel, err);
        if (r == 0 && p->first_error.code) {
                *err = p->first_error;
                r = -err->code;
        }
        return r;
}

void zp_pull_take_memory(struct zp_pull *p, uint64_t size) {
        pthread_mutex_lock(&p->lock);
        while (p->memory > 0 && (size > MEMORY_MAX || p->memory > MEMORY_MAX - size))
                pthread_cond_wait(&p->room, &p->lock);
        p->memory += size;
        pthread_mutex_unlock(&p->lock);
}

void zp_pull_give_memory(struct zp_pull *p, uint64_t size) {
        pthread_mutex_lock(&p->lock);
        p->memory -= size;
        pthread_cond_broadcast(&p->room);
        pthread_mutex_unlock(&p->lock);
}
