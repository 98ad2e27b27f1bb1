/* SPDX-License-Identifier: Apache-2.0
 *
 * `GET /v1/events`: what happens, as server-sent events.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/server.h"

#define BLOCK 16384

struct watch {
        struct hook_server *server;
        struct hook_live *live;
        struct MHD_Connection *connection;
        struct hook_watcher watcher;
        struct zp_buffer waiting; /* read from `live`, not yet sent */
        size_t sent;
        pthread_mutex_t lock;
        bool has_news, is_suspended; /* guarded by lock */
        bool is_over;
};

static void wake(void *context) {
        struct watch *w = context;
        pthread_mutex_lock(&w->lock);
        w->has_news = true;
        bool was_suspended = w->is_suspended;
        w->is_suspended = false;
        if (was_suspended)
                hook_resume(w->server, w->connection);
        pthread_mutex_unlock(&w->lock);
}

/* Waits for news unless they have come since they were last read. */
static void wait_for_news(struct watch *w) {
        pthread_mutex_lock(&w->lock);
        if (!w->has_news) {
                w->is_suspended = hook_suspend(w->server, w->connection);
                w->is_over = !w->is_suspended;
        }
        w->has_news = false;
        pthread_mutex_unlock(&w->lock);
}

static ssize_t read_news(void *context, uint64_t position, char *buffer, size_t size) {
        struct watch *w = context;
        (void) position;
        if (w->sent == w->waiting.size) {
                zp_buffer_clear(&w->waiting);
                w->sent = 0;
                if (!hook_live_read(w->live, &w->watcher, BLOCK, &w->waiting)) {
                        wait_for_news(w);
                        return w->is_over ? MHD_CONTENT_READER_END_OF_STREAM : 0;
                }
                if (w->waiting.size == 0) /* the service ends */
                        return MHD_CONTENT_READER_END_OF_STREAM;
        }
        size_t left = w->waiting.size - w->sent;
        size_t count = left < size ? left : size;
        memcpy(buffer, w->waiting.data + w->sent, count);
        w->sent += count;
        return (ssize_t) count;
}

static void end_watch(void *context) {
        struct watch *w = context;
        hook_live_unwatch(w->live, &w->watcher);
        zp_buffer_clear(&w->waiting);
        pthread_mutex_destroy(&w->lock);
        free(w);
}

enum MHD_Result hook_watch(struct hook_exchange *x) {
        if (strcmp(x->method, "HEAD") == 0) /* of a stream the library would send the end */
                return hook_reply_static(x, "text/event-stream", "", 0);
        struct watch *w = calloc(1, sizeof *w);
        if (!w)
                return hook_reply_error(x, 503, "out of memory");
        w->server = x->server;
        w->live = x->service->live;
        w->connection = x->connection;
        w->watcher = (struct hook_watcher){ .wake = wake, .context = w };
        pthread_mutex_init(&w->lock, NULL);
        zp_buffer_text(&w->waiting, ": watching\n\n");
        if (!hook_live_watch(w->live, &w->watcher)) {
                end_watch(w);
                return hook_reply_error(x, 503, "too many are watching");
        }
        struct MHD_Response *response =
                MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_news, w, end_watch);
        if (!response) {
                end_watch(w);
                return MHD_NO;
        }
        MHD_add_response_header(response, "Content-Type", "text/event-stream");
        MHD_add_response_header(response, "Cache-Control", "no-store");
        MHD_add_response_header(response, "X-Accel-Buffering", "no");
        enum MHD_Result result = MHD_queue_response(x->connection, 200, response);
        MHD_destroy_response(response);
        return result;
}
