/* SPDX-License-Identifier: Apache-2.0 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "remote/range-internal.h"

#define STALL_TIMEOUT_MS 10000u
#define READ_TIMEOUT_MS 300000u
#define REQUESTS_PER_SERVER 16u
#define COALESCE_BYTES (8u << 20)
#define GAP_BYTES (64u << 10)
#define AHEAD_BYTES (4u << 20)
#define CONNECTIONS_KEPT 64u

static int copy_string(struct zp_range_reader *reader, unsigned slot, const char **text, struct zp_error *err) {
        if (!*text)
                return 0;
        *text = reader->strings[slot] = strdup(*text);
        return *text ? 0 : zp_error_errno(err, ENOMEM, "range reader");
}

static int take_options(struct zp_range_reader *reader, const struct zp_range_options *options, struct zp_error *err) {
        reader->options = *options;
        struct zp_range_options *own = &reader->options;
        own->requests_per_server = own->requests_per_server ? own->requests_per_server : REQUESTS_PER_SERVER;
        own->read_timeout_ms = own->read_timeout_ms ? own->read_timeout_ms : READ_TIMEOUT_MS;
        own->coalesce_bytes = own->coalesce_bytes ? own->coalesce_bytes : COALESCE_BYTES;
        own->gap_bytes = own->gap_bytes ? own->gap_bytes : GAP_BYTES;
        own->ahead_bytes = own->ahead_bytes ? own->ahead_bytes : AHEAD_BYTES;
        own->source.stall_timeout_ms = own->source.stall_timeout_ms ? own->source.stall_timeout_ms : STALL_TIMEOUT_MS;
        reader->cancel.parent = own->source.cancel;
        own->source.cancel = &reader->cancel;
        int r = copy_string(reader, 0, &own->source.auth_file, err);
        if (r == 0)
                r = copy_string(reader, 1, &own->source.credentials, err);
        if (r == 0)
                r = copy_string(reader, 2, &own->source.ca_file, err);
        if (r == 0)
                r = copy_string(reader, 3, &own->source.hosts_dir, err);
        return r < 0 ? r : copy_string(reader, 4, &own->source.user_agent, err);
}

/* Signals are other threads' business, and that a server has closed a connection (SIGPIPE) is no signal to anybody. */
static int start_thread(struct zp_range_reader *reader, struct zp_error *err) {
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int code = pthread_create(&reader->thread, NULL, zp_range_run, reader);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        return code ? zp_error_errno(err, code, "range reader") : 0;
}

static void reader_free(struct zp_range_reader *reader) {
        zp_range_remotes_free(reader);
        for (struct zp_range_host *host; (host = reader->hosts);) {
                reader->hosts = host->next;
                free(host->name);
                free(host);
        }
        if (reader->pool)
                zp_pool_free(reader->pool);
        if (reader->multi)
                zp_http_multi_free(reader->multi);
        pthread_cond_destroy(&reader->done);
        pthread_mutex_destroy(&reader->lock);
        for (size_t i = 0; i < sizeof reader->strings / sizeof *reader->strings; i++)
                free(reader->strings[i]);
        free(reader);
}
ZP_DEFINE_AUTO(struct zp_range_reader, reader_free);

int zp_range_reader_new(const struct zp_range_options *options, struct zp_range_reader **out, struct zp_error *err) {
        zp_auto(reader_free) struct zp_range_reader *reader = calloc(1, sizeof *reader);
        if (!reader)
                return zp_error_errno(err, ENOMEM, "range reader");
        pthread_mutex_init(&reader->lock, NULL);
        pthread_cond_init(&reader->done, NULL);
        TAILQ_INIT(&reader->reads);
        TAILQ_INIT(&reader->arriving);
        TAILQ_INIT(&reader->was_read);
        TAILQ_INIT(&reader->ending);
        int r = take_options(reader, options, err);
        if (r == 0)
                r = zp_http_multi_new(CONNECTIONS_KEPT, &reader->multi, err);
        if (r == 0)
                r = start_thread(reader, err);
        if (r < 0)
                return r;
        *out = zp_steal(&reader);
        return 0;
}

void zp_range_reader_free(struct zp_range_reader *reader) {
        pthread_mutex_lock(&reader->lock);
        reader->is_ending = true;
        pthread_mutex_unlock(&reader->lock);
        atomic_store(&reader->cancel.requested, true);
        zp_http_multi_wake(reader->multi);
        pthread_join(reader->thread, NULL);
        reader_free(reader);
}

int zp_range_blob_open(struct zp_range_reader *reader, const char *remote, const struct zp_descriptor *descriptor,
                       struct zp_range_blob **out, struct zp_error *err) {
        zp_autofree struct zp_range_blob *blob = calloc(1, sizeof *blob);
        if (!blob)
                return zp_error_errno(err, ENOMEM, "%s", remote);
        if (descriptor->size > INT64_MAX)
                return zp_error_set(err, EFBIG, "%s: a blob of %ju bytes", remote, (uintmax_t) descriptor->size);
        int r = zp_range_remote_get(reader, remote, &blob->remote, err);
        if (r < 0)
                return r;
        blob->descriptor = (struct zp_descriptor){ .digest = descriptor->digest, .size = descriptor->size };
        TAILQ_INIT(&blob->waiting);
        blob->elsewhere = calloc(blob->remote->server_count, sizeof *blob->elsewhere);
        if (!blob->elsewhere) {
                zp_range_remote_let_go(blob->remote);
                return zp_error_errno(err, ENOMEM, "%s", remote);
        }
        *out = zp_steal(&blob);
        return 0;
}

/* Marks the blob's reads with this context (NULL: all), and tells the thread. */
static void order(struct zp_range_blob *blob, const void *context, bool is_cancelled, enum zp_range_priority priority) {
        struct zp_range_reader *reader = blob->remote->reader;
        struct zp_range_read *read;
        pthread_mutex_lock(&reader->lock);
        TAILQ_FOREACH(read, &reader->reads, by_age) {
                if (read->blob != blob || (context && read->context != context))
                        continue;
                read->is_cancelled = read->is_cancelled || is_cancelled;
                if (priority < read->wanted_priority)
                        read->wanted_priority = priority;
                reader->has_orders = true;
        }
        pthread_mutex_unlock(&reader->lock);
        zp_http_multi_wake(reader->multi);
}

void zp_range_raise(struct zp_range_blob *blob, void *context, enum zp_range_priority priority) {
        order(blob, context, false, priority);
}

void zp_range_cancel(struct zp_range_blob *blob, void *context) {
        order(blob, context, true, ZP_RANGE_BACKGROUND);
}

void zp_range_blob_close(struct zp_range_blob *blob) {
        struct zp_range_reader *reader = blob->remote->reader;
        order(blob, NULL, true, ZP_RANGE_BACKGROUND);
        pthread_mutex_lock(&reader->lock);
        while (blob->outstanding > 0)
                pthread_cond_wait(&reader->done, &reader->lock);
        pthread_mutex_unlock(&reader->lock);
        for (unsigned i = 0; i < blob->remote->server_count; i++)
                free(blob->elsewhere[i]);
        free(blob->elsewhere);
        zp_range_remote_let_go(blob->remote);
        free(blob);
}

int zp_range_read(struct zp_range_blob *blob, uint64_t offset, size_t size, void *buffer,
                  enum zp_range_priority priority, zp_range_done done, void *context, struct zp_error *err) {
        struct zp_range_reader *reader = blob->remote->reader;
        uint64_t end;
        if (size == 0 || zp_add_overflows(offset, size, &end) || end > blob->descriptor.size)
                return zp_error_set(err, ERANGE, "bytes %ju+%zu of %ju", (uintmax_t) offset, size,
                                    (uintmax_t) blob->descriptor.size);
        struct zp_range_read *read = calloc(1, sizeof *read);
        bool is_file = !blob->remote->remote->kind->range;
        struct zp_error *file_err = is_file ? calloc(1, sizeof *file_err) : NULL;
        if (!read || (is_file && !file_err)) {
                free(read);
                free(file_err);
                return zp_error_errno(err, ENOMEM, "read");
        }
        *read = (struct zp_range_read){
                .blob = blob,
                .offset = offset,
                .size = size,
                .buffer = buffer,
                .done = done,
                .context = context,
                .priority = priority,
                .wanted_priority = priority,
                .deadline_ms = zp_clock_ms() + reader->options.read_timeout_ms,
                .err = file_err,
        };
        pthread_mutex_lock(&reader->lock);
        TAILQ_INSERT_TAIL(&reader->reads, read, by_age);
        TAILQ_INSERT_TAIL(&reader->arriving, read, in_queue);
        blob->outstanding++;
        pthread_mutex_unlock(&reader->lock);
        zp_http_multi_wake(reader->multi);
        return 0;
}

void zp_range_reader_statistics(struct zp_range_reader *reader, struct zp_range_statistics *out) {
        pthread_mutex_lock(&reader->lock);
        *out = reader->statistics;
        pthread_mutex_unlock(&reader->lock);
}
