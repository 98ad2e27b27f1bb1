/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack file on a file system that may hang: read by threads that nobody waits for. A read that was given up goes on
 * without its origin's user, until the file system lets go of its thread.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "device/device-internal.h"

struct slow_read {
        struct zp_pool_item item;
        struct slow_origin *from;
        uint64_t offset;
        uint32_t size;
        void *buffer, *context;
        /* guarded by the origin's lock */
        struct slow_read *next, **link;
        uint64_t began_ms;
        zp_device_origin_done done; /* NULL: it was given up, or its thread answers */
};

struct slow_origin {
        struct zp_device_origin origin;
        int fd;
        struct zp_pool *readers;
        unsigned patience_ms;
        pthread_mutex_t lock;
        /* guarded by lock */
        unsigned owners;                 /* the user, and each of the reads */
        struct slow_read *first, **last; /* whose thread is not back, the oldest first */
};

static void let_go(struct slow_origin *from) {
        pthread_mutex_lock(&from->lock);
        bool is_last = --from->owners == 0;
        pthread_mutex_unlock(&from->lock);
        if (!is_last)
                return;
        close(from->fd);
        pthread_mutex_destroy(&from->lock);
        free(from);
}

static void append(struct slow_origin *from, struct slow_read *read) {
        read->link = from->last;
        *from->last = read;
        from->last = &read->next;
        from->owners++;
}

static void take_out(struct slow_read *read) {
        *read->link = read->next;
        *(read->next ? &read->next->link : &read->from->last) = read->link;
}

/* Ends those that were begun with this context (NULL: any) and no later than then. */
static void give_up(struct slow_origin *from, const void *context, uint64_t began_ms, int result,
                    const struct zp_error *err) {
        for (;;) {
                pthread_mutex_lock(&from->lock);
                struct slow_read *read = from->first;
                while (read && (!read->done || (context && read->context != context) || read->began_ms > began_ms))
                        read = read->next;
                zp_device_origin_done done = read ? read->done : NULL;
                void *told = read ? read->context : NULL;
                if (read)
                        read->done = NULL;
                pthread_mutex_unlock(&from->lock);
                if (!done)
                        return;
                done(told, result, err);
        }
}

/* Whether somebody still wants it. */
static bool is_wanted(struct slow_read *read) {
        pthread_mutex_lock(&read->from->lock);
        bool is_wanted = read->done;
        pthread_mutex_unlock(&read->from->lock);
        return is_wanted;
}

static void work(void *argument, unsigned worker) {
        (void) worker;
        struct slow_read *read = argument;
        struct slow_origin *from = read->from;
        struct zp_error err = { 0 };
        zp_autofree void *bytes = is_wanted(read) ? malloc(read->size) : NULL; /* the buffer may go meanwhile */
        int r = bytes ? zp_pread_all(from->fd, bytes, read->size, read->offset, "pack", &err)
                      : zp_error_errno(&err, ENOMEM, "pack");
        pthread_mutex_lock(&from->lock);
        zp_device_origin_done done = read->done;
        take_out(read);
        pthread_mutex_unlock(&from->lock);
        if (done && r == 0)
                memcpy(read->buffer, bytes, read->size);
        if (done)
                done(read->context, r, r < 0 ? &err : NULL);
        free(read);
        let_go(from);
}

static void say_hung(struct zp_error *err) {
        zp_error_set(err, ETIMEDOUT, "pack: its file system does not answer");
}

/* One that hangs already is not asked: then others are. */
static void start_read(struct zp_device_origin *origin, uint64_t offset, uint32_t size, void *buffer,
                       enum zp_device_urgency urgency, zp_device_origin_done done, void *context) {
        (void) urgency;
        struct slow_origin *from = (struct slow_origin *) origin;
        struct slow_read *read = calloc(1, sizeof *read);
        struct zp_error err = { 0 };
        if (!read) {
                done(context, zp_error_errno(&err, ENOMEM, "pack"), &err);
                return;
        }
        uint64_t now = zp_device_now_ms();
        *read = (struct slow_read){ .from = from, .offset = offset, .size = size, .buffer = buffer };
        read->context = context;
        read->began_ms = now;
        read->done = done;
        pthread_mutex_lock(&from->lock);
        bool is_hung = from->first && now >= from->first->began_ms + from->patience_ms;
        if (!is_hung)
                append(from, read);
        pthread_mutex_unlock(&from->lock);
        if (!is_hung) {
                zp_pool_submit(from->readers, &read->item, work, read);
                return;
        }
        free(read);
        say_hung(&err);
        done(context, -ETIMEDOUT, &err);
}

static void cancel_read(struct zp_device_origin *origin, void *context) {
        give_up((struct slow_origin *) origin, context, UINT64_MAX, -ECANCELED, NULL);
}

/* Those who have waited long go to others as well. */
static void give_up_late(struct zp_device_origin *origin, uint64_t now_ms) {
        struct slow_origin *from = (struct slow_origin *) origin;
        struct zp_error err = { 0 };
        if (now_ms < from->patience_ms)
                return;
        say_hung(&err);
        give_up(from, NULL, now_ms - from->patience_ms, -ETIMEDOUT, &err);
}

static void close_file(struct zp_device_origin *origin) {
        let_go((struct slow_origin *) origin);
}

static const struct zp_device_origin_ops ops = {
        .read = start_read,
        .cancel = cancel_read,
        .look = give_up_late,
        .close = close_file,
};

int zp_device_origin_slow_file(int fd, bool is_at_hand, struct zp_pool *readers, unsigned patience_ms,
                               struct zp_device_origin **out, struct zp_error *err) {
        zp_autoclose int owned = fd;
        struct slow_origin *from = calloc(1, sizeof *from);
        if (!from)
                return zp_error_errno(err, ENOMEM, "pack");
        *from = (struct slow_origin){ .origin = { .ops = &ops, .is_at_hand = is_at_hand },
                                      .fd = zp_steal_fd(&owned),
                                      .readers = readers,
                                      .patience_ms = patience_ms,
                                      .owners = 1 };
        from->last = &from->first;
        pthread_mutex_init(&from->lock, NULL);
        *out = &from->origin;
        return 0;
}
