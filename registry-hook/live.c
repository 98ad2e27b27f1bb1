/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/live.h"

#include <pthread.h>
#include <stdlib.h>

/* Kept for slow watchers. */
#define MESSAGES 512

struct hook_live {
        pthread_mutex_t lock;
        char *messages[MESSAGES]; /* guarded by lock, as all below; number n at n % MESSAGES */
        uint64_t count;           /* sent so far */
        struct hook_watcher *watchers;
        bool is_ended;
};

int hook_live_new(struct hook_live **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "live");
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void hook_live_free(struct hook_live *live) {
        for (size_t i = 0; i < MESSAGES; i++)
                free(live->messages[i]);
        pthread_mutex_destroy(&live->lock);
        free(live);
}

static void wake_all(struct hook_live *live) {
        for (struct hook_watcher *w = live->watchers; w; w = w->next)
                if (!w->is_woken) {
                        w->is_woken = 1;
                        w->wake(w->context);
                }
}

void hook_live_send(struct hook_live *live, const char *type, const char *text) {
        pthread_mutex_lock(&live->lock);
        char *message = zp_format("id: %llu\nevent: %s\ndata: %s\n\n", (unsigned long long) live->count, type, text);
        if (message) { /* news are no reason to fail */
                free(live->messages[live->count % MESSAGES]);
                live->messages[live->count++ % MESSAGES] = message;
                wake_all(live);
        }
        pthread_mutex_unlock(&live->lock);
}

void hook_live_watch(struct hook_live *live, struct hook_watcher *watcher) {
        pthread_mutex_lock(&live->lock);
        watcher->position = live->count;
        watcher->is_woken = 1; /* until it has read */
        watcher->next = live->watchers;
        live->watchers = watcher;
        pthread_mutex_unlock(&live->lock);
}

void hook_live_unwatch(struct hook_live *live, struct hook_watcher *watcher) {
        pthread_mutex_lock(&live->lock);
        struct hook_watcher **at = &live->watchers;
        while (*at && *at != watcher)
                at = &(*at)->next;
        if (*at)
                *at = watcher->next;
        pthread_mutex_unlock(&live->lock);
}

bool hook_live_read(struct hook_live *live, struct hook_watcher *watcher, size_t limit, struct zp_buffer *out) {
        size_t start = out->size;
        pthread_mutex_lock(&live->lock);
        if (live->count - watcher->position > MESSAGES) {
                watcher->position = live->count - MESSAGES;
                zp_buffer_text(out, "event: missed\ndata: {}\n\n");
        }
        while (watcher->position < live->count && out->size - start < limit)
                if (!zp_buffer_text(out, live->messages[watcher->position++ % MESSAGES]))
                        break;
        bool any = out->size > start || live->is_ended;
        if (!any)
                watcher->is_woken = 0;
        pthread_mutex_unlock(&live->lock);
        return any;
}

void hook_live_end(struct hook_live *live) {
        pthread_mutex_lock(&live->lock);
        live->is_ended = true;
        wake_all(live);
        pthread_mutex_unlock(&live->lock);
}
