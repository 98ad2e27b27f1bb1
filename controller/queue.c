/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys are in a tree; those that wait for a time also in a heap by that time, those that are due in a list.
 */
#include "controller/queue.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/condition.h"

#define NOWHERE SIZE_MAX

struct item {
        struct item *previous, *next; /* in the list of those that are due */
        size_t at;                    /* in the heap; NOWHERE */
        uint64_t due_ms;              /* in the heap */
        uint64_t again_ms;            /* while a worker has it: when it is to come again; 0: not */
        unsigned failures;
        bool is_ready, is_running;
        char key[];
};

struct ctl_queue {
        uint64_t (*now_ms)(void);
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t changed;
        void *items; /* of search.h */
        struct item **heap;
        size_t heap_size, heap_capacity;
        struct item *first, *last;
        size_t ready, running;
        uint64_t added, failed;
        bool is_closed;
};

/* ---- the tree ---- */

static int compare(const void *a, const void *b) {
        return strcmp(((const struct item *) a)->key, ((const struct item *) b)->key);
}

/* A key as an item to compare with. */
union sought {
        struct item item;
        char room[sizeof(struct item) + CTL_QUEUE_KEY_SIZE];
};

static struct item *find(const struct ctl_queue *q, const char *key) {
        union sought sought;
        size_t size = strlen(key) + 1;
        if (size > CTL_QUEUE_KEY_SIZE)
                return NULL;
        memcpy(sought.room + offsetof(struct item, key), key, size);
        struct item **found = tfind(&sought, &q->items, compare);
        return found ? *found : NULL;
}

static struct item *find_or_make(struct ctl_queue *q, const char *key) {
        struct item *item = find(q, key);
        size_t size = strlen(key) + 1;
        if (item || size > CTL_QUEUE_KEY_SIZE || !(item = calloc(1, sizeof *item + size)))
                return item;
        memcpy(item->key, key, size);
        item->at = NOWHERE;
        if (!tsearch(item, &q->items, compare)) {
                free(item);
                return NULL;
        }
        return item;
}

static void forget_if_idle(struct ctl_queue *q, struct item *item) {
        if (item->is_ready || item->is_running || item->at != NOWHERE || item->failures)
                return;
        tdelete(item, &q->items, compare);
        free(item);
}

/* ---- the heap ---- */

static void place(struct ctl_queue *q, struct item *item, size_t at) {
        q->heap[at] = item;
        item->at = at;
}

static void sift_up(struct ctl_queue *q, size_t at) {
        struct item *item = q->heap[at];
        for (; at > 0 && q->heap[(at - 1) / 2]->due_ms > item->due_ms; at = (at - 1) / 2)
                place(q, q->heap[(at - 1) / 2], at);
        place(q, item, at);
}

static void sift_down(struct ctl_queue *q, size_t at) {
        struct item *item = q->heap[at];
        for (;;) {
                size_t child = at * 2 + 1;
                if (child + 1 < q->heap_size && q->heap[child + 1]->due_ms < q->heap[child]->due_ms)
                        child++;
                if (child >= q->heap_size || q->heap[child]->due_ms >= item->due_ms)
                        break;
                place(q, q->heap[child], at);
                at = child;
        }
        place(q, item, at);
}

static void heap_remove(struct ctl_queue *q, struct item *item) {
        size_t at = item->at;
        struct item *moved = q->heap[--q->heap_size];
        item->at = NOWHERE;
        if (moved == item)
                return;
        place(q, moved, at);
        sift_up(q, at);
        sift_down(q, moved->at);
}

static bool heap_add(struct ctl_queue *q, struct item *item, uint64_t due_ms) {
        if (q->heap_size == q->heap_capacity) {
                size_t capacity = q->heap_capacity ? q->heap_capacity * 2 : 64;
                struct item **heap = reallocarray(q->heap, capacity, sizeof *heap);
                if (!heap)
                        return false;
                q->heap = heap;
                q->heap_capacity = capacity;
        }
        item->due_ms = due_ms;
        place(q, item, q->heap_size++);
        sift_up(q, item->at);
        return true;
}

/* ---- the list ---- */

static void make_ready(struct ctl_queue *q, struct item *item) {
        if (item->at != NOWHERE)
                heap_remove(q, item);
        item->is_ready = true;
        item->previous = q->last;
        item->next = NULL;
        *(q->last ? &q->last->next : &q->first) = item;
        q->last = item;
        q->ready++;
}

static void make_due_ready(struct ctl_queue *q) {
        uint64_t now = q->now_ms();
        while (q->heap_size > 0 && q->heap[0]->due_ms <= now)
                make_ready(q, q->heap[0]);
}

/* ---- adding ---- */

/* Is to come at `due_ms`; with the lock. */
static bool add_at(struct ctl_queue *q, struct item *item, uint64_t due_ms) {
        q->added++;
        if (item->is_running) {
                if (item->again_ms == 0 || due_ms < item->again_ms)
                        item->again_ms = due_ms;
                return true;
        }
        if (item->is_ready || (item->at != NOWHERE && item->due_ms <= due_ms))
                return true;
        if (item->at != NOWHERE)
                heap_remove(q, item);
        bool ok = true;
        if (due_ms <= q->now_ms())
                make_ready(q, item);
        else
                ok = heap_add(q, item, due_ms);
        pthread_cond_signal(&q->changed);
        return ok;
}

bool ctl_queue_add_after(struct ctl_queue *q, const char *key, uint64_t delay_ms) {
        pthread_mutex_lock(&q->lock);
        struct item *item = find_or_make(q, key);
        bool ok = item && add_at(q, item, q->now_ms() + delay_ms);
        pthread_mutex_unlock(&q->lock);
        return ok;
}

bool ctl_queue_add(struct ctl_queue *q, const char *key) {
        return ctl_queue_add_after(q, key, 0);
}

static uint64_t backoff_ms(unsigned failures) {
        uint64_t wait = CTL_QUEUE_BACKOFF_FIRST_MS;
        for (unsigned i = 1; i < failures && wait < CTL_QUEUE_BACKOFF_LAST_MS; i++)
                wait *= 2;
        return wait < CTL_QUEUE_BACKOFF_LAST_MS ? wait : CTL_QUEUE_BACKOFF_LAST_MS;
}

bool ctl_queue_add_failed(struct ctl_queue *q, const char *key) {
        pthread_mutex_lock(&q->lock);
        struct item *item = find_or_make(q, key);
        if (item)
                item->failures++;
        q->failed++;
        bool ok = item && add_at(q, item, q->now_ms() + backoff_ms(item->failures));
        pthread_mutex_unlock(&q->lock);
        return ok;
}

void ctl_queue_succeeded(struct ctl_queue *q, const char *key) {
        pthread_mutex_lock(&q->lock);
        struct item *item = find(q, key);
        if (item) {
                item->failures = 0;
                forget_if_idle(q, item);
        }
        pthread_mutex_unlock(&q->lock);
}

/* ---- taking ---- */

static bool take(struct ctl_queue *q, char key[CTL_QUEUE_KEY_SIZE]) {
        make_due_ready(q);
        struct item *item = q->first;
        if (!item || q->is_closed)
                return false;
        q->first = item->next;
        *(item->next ? &item->next->previous : &q->last) = NULL;
        item->is_ready = false;
        item->is_running = true;
        item->again_ms = 0;
        q->ready--;
        q->running++;
        strcpy(key, item->key);
        return true;
}

bool ctl_queue_try(struct ctl_queue *q, char key[CTL_QUEUE_KEY_SIZE]) {
        pthread_mutex_lock(&q->lock);
        bool found = take(q, key);
        pthread_mutex_unlock(&q->lock);
        return found;
}

/* Until something is added, or the next one is due. */
static void wait_for_more(struct ctl_queue *q) {
        if (q->heap_size == 0) {
                pthread_cond_wait(&q->changed, &q->lock);
                return;
        }
        zp_condition_wait_until(&q->changed, &q->lock, q->heap[0]->due_ms);
}

bool ctl_queue_take(struct ctl_queue *q, char key[CTL_QUEUE_KEY_SIZE]) {
        bool found = false;
        pthread_mutex_lock(&q->lock);
        while (!(found = take(q, key)) && !q->is_closed)
                wait_for_more(q);
        pthread_mutex_unlock(&q->lock);
        return found;
}

void ctl_queue_done(struct ctl_queue *q, const char *key) {
        pthread_mutex_lock(&q->lock);
        struct item *item = find(q, key);
        if (item && item->is_running) {
                uint64_t again_ms = item->again_ms;
                item->is_running = false;
                item->again_ms = 0;
                q->running--;
                if (again_ms)
                        add_at(q, item, again_ms);
                forget_if_idle(q, item);
        }
        pthread_mutex_unlock(&q->lock);
}

void ctl_queue_close(struct ctl_queue *q) {
        pthread_mutex_lock(&q->lock);
        q->is_closed = true;
        pthread_cond_broadcast(&q->changed);
        pthread_mutex_unlock(&q->lock);
}

struct ctl_queue_statistics ctl_queue_statistics(struct ctl_queue *q) {
        pthread_mutex_lock(&q->lock);
        struct ctl_queue_statistics s = { q->ready, q->heap_size, q->running, q->added, q->failed };
        pthread_mutex_unlock(&q->lock);
        return s;
}

/* ---- making ---- */

int ctl_queue_new(uint64_t (*now_ms)(void), struct ctl_queue **out, struct zp_error *err) {
        struct ctl_queue *q = calloc(1, sizeof *q);
        if (!q)
                return zp_error_errno(err, ENOMEM, "queue");
        q->now_ms = now_ms ? now_ms : zp_monotonic_ms;
        pthread_mutex_init(&q->lock, NULL);
        zp_condition_init(&q->changed);
        *out = q;
        return 0;
}

void ctl_queue_free(struct ctl_queue *q) {
        if (!q)
                return;
        tdestroy(q->items, free);
        free(q->heap);
        pthread_cond_destroy(&q->changed);
        pthread_mutex_destroy(&q->lock);
        free(q);
}
