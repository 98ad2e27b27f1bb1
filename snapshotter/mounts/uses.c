/* SPDX-License-Identifier: Apache-2.0
 *
 * Who is at a base: one at a time mounts it or drops it, and it is dropped on threads of its own.
 */
#include <stdlib.h>

#include "base/condition.h"
#include "snapshotter/mounts/mounts-internal.h"

/* An unmount takes milliseconds. */
#define DROP_PATIENCE_MS 2000

static struct snap_base_use *find_use(struct snap_mounts *m, uint64_t id) {
        struct snap_base_use *use = m->uses;
        while (use && use->id != id)
                use = use->next;
        return use;
}

/* Adds a use of a base; *is_first: it has no other. NULL: out of memory. Lock held. */
static struct snap_base_use *add_use(struct snap_mounts *m, uint64_t id, bool *is_first) {
        struct snap_base_use *use = find_use(m, id);
        *is_first = !use;
        if (!use) {
                use = calloc(1, sizeof *use);
                if (!use)
                        return NULL;
                *use = (struct snap_base_use){ .next = m->uses, .mounts = m, .id = id };
                m->uses = use;
        }
        use->users++;
        return use;
}

/* Takes a use away, the base's last with its record. Lock held. */
static void remove_use(struct snap_mounts *m, struct snap_base_use *use) {
        if (--use->users)
                return;
        struct snap_base_use **link = &m->uses;
        while (*link != use)
                link = &(*link)->next;
        *link = use->next;
        free(use);
}

struct snap_base_use *snap_use_begin(struct snap_mounts *m, uint64_t id, struct zp_error *err) {
        bool is_first;
        pthread_mutex_lock(&m->lock);
        struct snap_base_use *use = add_use(m, id, &is_first);
        while (use && use->is_busy)
                pthread_cond_wait(&m->changed, &m->lock);
        if (use)
                use->is_busy = true;
        else
                zp_error_errno(err, ENOMEM, "mounts");
        pthread_mutex_unlock(&m->lock);
        return use;
}

static void drop_elsewhere(void *argument, unsigned worker);

/* The last one has dropped what was to be dropped meanwhile. */
void snap_use_end(struct snap_mounts *m, struct snap_base_use *use) {
        pthread_mutex_lock(&m->lock);
        bool must_drop = use->users == 1 && use->is_unwanted;
        use->is_dropping = must_drop;
        if (must_drop) {
                use->is_unwanted = false;
        } else {
                use->is_busy = false;
                remove_use(m, use);
                pthread_cond_broadcast(&m->changed);
        }
        pthread_mutex_unlock(&m->lock);
        if (must_drop)
                zp_pool_submit(m->droppers, &use->item, drop_elsewhere, use);
}

static void drop_elsewhere(void *argument, unsigned worker) {
        struct snap_base_use *use = argument;
        struct snap_mounts *m = use->mounts;
        (void) worker;
        snap_base_drop(m, use->id);
        pthread_mutex_lock(&m->lock);
        m->is_hanging = false;
        pthread_mutex_unlock(&m->lock);
        snap_use_end(m, use);
}

/* ---- the way out ---- */

static bool is_dropping(struct snap_mounts *m, uint64_t id) {
        const struct snap_base_use *use = find_use(m, id);
        return use && use->is_dropping;
}

/* Until it is over, or hangs: then nobody waits for another one until one ends. What somebody mounts meanwhile is
 * dropped when he is done. */
static void await_drop(struct snap_mounts *m, uint64_t id) {
        uint64_t until_ms = zp_monotonic_ms() + DROP_PATIENCE_MS;
        bool is_late = false;
        pthread_mutex_lock(&m->lock);
        while (!m->is_hanging && !is_late && is_dropping(m, id))
                is_late = !zp_condition_wait_until(&m->changed, &m->lock, until_ms);
        m->is_hanging |= is_late && is_dropping(m, id);
        pthread_mutex_unlock(&m->lock);
}

void snap_mounts_drop(struct snap_mounts *m, uint64_t base_id) {
        bool is_first;
        pthread_mutex_lock(&m->lock);
        struct snap_base_use *use = add_use(m, base_id, &is_first);
        if (use)
                use->is_unwanted = true; /* in no memory's case the next start sweeps */
        if (use && is_first)
                use->is_busy = true;
        else if (use)
                remove_use(m, use);
        pthread_mutex_unlock(&m->lock);
        if (!use || !is_first)
                return;
        snap_use_end(m, use);
        await_drop(m, base_id);
}
