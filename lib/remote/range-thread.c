/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "remote/range-internal.h"

/* The thread looks after cancellation and silent servers so often. */
#define TICK_MS 500u
/* How long a server that has failed is left out where there are others. */
#define AVOID_MS 30000u

void zp_range_complete(struct zp_range_read *read, int result, const struct zp_error *why) {
        struct zp_range_blob *blob = read->blob;
        struct zp_range_reader *reader = blob->remote->reader;
        struct zp_error err = { 0 };
        char text[ZP_DIGEST_TEXT_SIZE];
        pthread_mutex_lock(&reader->lock);
        TAILQ_REMOVE(&reader->reads, read, by_age);
        if (result == 0)
                reader->statistics.delivered_bytes += read->size;
        pthread_mutex_unlock(&reader->lock);
        if (result < 0) {
                err = *why;
                zp_error_wrap(&err, "%s: blob %s", blob->remote->name, zp_digest_text(&blob->descriptor.digest, text));
        }
        read->done(read->context, result, result < 0 ? &err : NULL);
        pthread_mutex_lock(&reader->lock);
        if (--blob->outstanding == 0)
                pthread_cond_broadcast(&reader->done);
        pthread_mutex_unlock(&reader->lock);
        free(read->err);
        free(read);
}

/* The next server in turn, not one that has just failed while there are others. */
static void choose_server(struct zp_range_read *read, unsigned first) {
        struct zp_range_remote *remote = read->blob->remote;
        uint64_t now = zp_clock_ms();
        read->server = first;
        for (unsigned i = first; i < remote->server_count; i++)
                if (remote->servers[i].avoid_until_ms <= now) {
                        read->server = i;
                        return;
                }
}

void zp_range_fail(struct zp_range_read *read, int result, const struct zp_error *err, bool may_retry,
                   const struct zp_http_response *response) {
        static const struct zp_http_response none = { 0 };
        struct zp_range_server *server = zp_range_read_server(read);
        struct zp_range_remote *remote = read->blob->remote;
        bool is_last = read->server + 1 == remote->server_count;
        if (zp_cancelled(&remote->reader->cancel)) {
                struct zp_error cancelled = { 0 };
                zp_range_complete(read, zp_error_set(&cancelled, ECANCELED, "cancelled"), &cancelled);
                return;
        }
        if (!is_last || may_retry)
                zp_range_server_failed(server, err, is_last ? "trying again" : "asking the next server");
        if (!is_last && may_retry)
                server->avoid_until_ms = zp_clock_ms() + AVOID_MS;
        if (!is_last && !may_retry && read->blob->server == read->server)
                read->blob->server = read->server + 1;
        if (!is_last) {
                choose_server(read, read->server + 1);
        } else if (may_retry) {
                read->retry.failures++;
                read->not_before_ms = zp_clock_ms() + zp_retry_delay_ms(&read->retry, response ? response : &none);
                read->server = read->blob->server; /* also one that is avoided: there is nobody else left */
        }
        if ((is_last && !may_retry) || read->not_before_ms > read->deadline_ms)
                zp_range_complete(read, result, err);
        else
                zp_range_enqueue(read, true);
}

/* Takes a read out of wherever it is. False: a file is being read, which cannot be stopped. */
static bool withdraw(struct zp_range_read *read) {
        if (read->is_in_pool)
                return false;
        if (read->request)
                zp_range_request_leave(read);
        else
                zp_range_dequeue(read);
        return true;
}

static void time_out(struct zp_range_read *read) {
        const struct zp_range_reader *reader = read->blob->remote->reader;
        const struct zp_range_server *server = zp_range_read_server(read);
        struct zp_error err = { 0 };
        if (!withdraw(read))
                return;
        zp_error_set(&err, ETIMEDOUT, "not read in %u s%s%s", (reader->options.read_timeout_ms + 999) / 1000,
                     server->is_failing ? "; the last failure: " : "",
                     server->is_failing ? server->reason.message : "");
        zp_range_complete(read, -ETIMEDOUT, &err);
}

static void raise_to(struct zp_range_read *read, enum zp_range_priority priority) {
        if (!read->is_waiting) {
                read->priority = priority;
                return;
        }
        zp_range_dequeue(read);
        read->priority = priority;
        if (read->goes_alone) /* what has failed with others may do well alone */
                read->not_before_ms = 0;
        zp_range_enqueue(read, false);
}

/* Does what callers have asked for since it was looked the last time, and ends reads whose time is over. */
static void obey(struct zp_range_reader *reader) {
        uint64_t now = zp_clock_ms();
        bool is_over = zp_cancelled(&reader->cancel), is_left = false;
        pthread_mutex_lock(&reader->lock);
        struct zp_range_read *read = TAILQ_FIRST(&reader->reads);
        bool has_orders = reader->has_orders;
        reader->has_orders = false;
        while (read && (has_orders || is_over || read->deadline_ms <= now)) {
                struct zp_range_read *next = TAILQ_NEXT(read, by_age);
                bool is_cancelled = is_over || read->is_cancelled;
                enum zp_range_priority priority = read->wanted_priority;
                bool has_arrived = read->is_waiting || read->is_in_pool || read->request;
                pthread_mutex_unlock(&reader->lock);
                struct zp_error err = { 0 };
                if (!has_arrived)
                        is_left = is_left || is_cancelled || priority < read->priority;
                else if (is_cancelled && withdraw(read))
                        zp_range_complete(read, zp_error_set(&err, ECANCELED, "cancelled"), &err);
                else if (!is_cancelled && read->deadline_ms <= now)
                        time_out(read);
                else if (priority < read->priority)
                        raise_to(read, priority);
                pthread_mutex_lock(&reader->lock);
                read = next;
        }
        reader->has_orders = reader->has_orders || is_left; /* about reads that arrive while we look */
        pthread_mutex_unlock(&reader->lock);
}

static void receive(struct zp_range_reader *reader) {
        struct zp_range_reads arriving = TAILQ_HEAD_INITIALIZER(arriving), was_read = TAILQ_HEAD_INITIALIZER(was_read);
        pthread_mutex_lock(&reader->lock);
        TAILQ_CONCAT(&arriving, &reader->arriving, in_queue);
        TAILQ_CONCAT(&was_read, &reader->was_read, in_queue);
        pthread_mutex_unlock(&reader->lock);
        for (struct zp_range_read *read; (read = TAILQ_FIRST(&arriving));) {
                TAILQ_REMOVE(&arriving, read, in_queue);
                choose_server(read, read->blob->server);
                zp_range_enqueue(read, false);
        }
        for (struct zp_range_read *read; (read = TAILQ_FIRST(&was_read));) {
                TAILQ_REMOVE(&was_read, read, in_queue);
                read->is_in_pool = false;
                zp_range_read_server(read)->host->active--;
                zp_range_complete(read, read->result, read->err);
        }
}

static int take_piece(void *context, const void *data, size_t size, struct zp_error *err) {
        struct zp_range_read *read = context;
        if (size > read->size - read->filled)
                return zp_error_set(err, EBADMSG, "more bytes than were asked for");
        memcpy(read->buffer + read->filled, data, size);
        read->filled += size;
        return 0;
}

static void read_file(void *argument, unsigned worker) {
        struct zp_range_read *read = argument;
        struct zp_range_reader *reader = read->blob->remote->reader;
        const struct zp_remote *remote = read->blob->remote->remote;
        struct zp_error err = { 0 };
        (void) worker;
        int r = remote->kind->get_blob(remote->state, &read->blob->descriptor, read->offset, read->size, take_piece,
                                       read, &err);
        if (r == 0 && read->filled < read->size)
                r = zp_error_set(&err, EBADMSG, "fewer bytes than were asked for");
        *read->err = err;
        read->result = r;
        pthread_mutex_lock(&reader->lock);
        TAILQ_INSERT_TAIL(&reader->was_read, read, in_queue);
        pthread_mutex_unlock(&reader->lock);
        zp_http_multi_wake(reader->multi);
}

static void start(struct zp_range_reader *reader, struct zp_range_read *read) {
        if (read->blob->remote->remote->kind->range) {
                zp_range_request_start(read);
                return;
        }
        zp_range_dequeue(read);
        read->is_in_pool = true;
        zp_range_read_server(read)->host->active++;
        zp_pool_submit(reader->pool, &read->item, read_file, read);
}

/* What nobody waits for goes together with what comes after it, unless the line is free. */
static bool is_worth_sending(const struct zp_range_server *server, enum zp_range_priority priority) {
        const struct zp_range_remote *remote = server->remote;
        return priority == ZP_RANGE_DEMAND || server->host->active == 0 ||
               remote->waiting_bytes[priority] >= remote->reader->options.ahead_bytes / 4;
}

/* Sends what may be sent of one remote's queue. Gives when to look again. */
static uint64_t send_queue(struct zp_range_reader *reader, struct zp_range_remote *remote,
                           enum zp_range_priority priority, uint64_t now) {
        struct zp_range_reads *queue = &remote->waiting[priority];
        uint64_t again = now + TICK_MS;
        for (struct zp_range_read *read = TAILQ_FIRST(queue), *next; read; read = next) {
                struct zp_range_server *server = zp_range_read_server(read);
                uint64_t not_before =
                        read->not_before_ms > server->not_before_ms ? read->not_before_ms : server->not_before_ms;
                next = TAILQ_NEXT(read, in_queue);
                if (not_before > now) {
                        again = zp_min_u64(again, not_before);
                } else if (zp_range_server_may_send(server, priority, now) && is_worth_sending(server, priority)) {
                        start(reader, read);
                        next = TAILQ_FIRST(queue); /* it has taken others along */
                } else if (remote->server_count == 1) {
                        break;
                }
        }
        return again;
}

static uint64_t send_all(struct zp_range_reader *reader, uint64_t now) {
        uint64_t again = now + TICK_MS;
        pthread_mutex_lock(&reader->lock);
        struct zp_range_remote *remotes = reader->remotes;
        const struct zp_range_read *oldest = TAILQ_FIRST(&reader->reads);
        if (oldest && oldest->deadline_ms > now && oldest->deadline_ms < again)
                again = oldest->deadline_ms;
        pthread_mutex_unlock(&reader->lock);
        for (unsigned p = 0; p < ZP_RANGE_PRIORITIES; p++)
                for (struct zp_range_remote *remote = remotes; remote; remote = remote->next)
                        again = zp_min_u64(again, send_queue(reader, remote, p, now));
        return again;
}

static void note_statistics(struct zp_range_reader *reader) {
        struct zp_http_multi_statistics seen = zp_http_multi_statistics(reader->multi);
        pthread_mutex_lock(&reader->lock);
        reader->statistics.http2_requests = seen.http2_exchanges;
        reader->statistics.connections = seen.connections;
        pthread_mutex_unlock(&reader->lock);
}

static bool is_over(struct zp_range_reader *reader) {
        pthread_mutex_lock(&reader->lock);
        bool is_over = reader->is_ending && TAILQ_EMPTY(&reader->reads);
        pthread_mutex_unlock(&reader->lock);
        return is_over && reader->clerks == 0;
}

void *zp_range_run(void *argument) {
        struct zp_range_reader *reader = argument;
        struct zp_error err;
        while (!is_over(reader)) {
                receive(reader);
                obey(reader);
                zp_range_clerks_return(reader);
                zp_range_remotes_trim(reader);
                note_statistics(reader);
                uint64_t now = zp_clock_ms(), again;
                zp_range_requests_end(reader, now);
                again = send_all(reader, now);
                /* Its only failures are of memory, which may pass. */
                if (zp_http_multi_run(reader->multi, again > now ? (unsigned) (again - now) : 0, &err) < 0)
                        zp_pause(TICK_MS, NULL);
        }
        zp_range_requests_end(reader, UINT64_MAX);
        return NULL;
}
