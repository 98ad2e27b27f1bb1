/* SPDX-License-Identifier: Apache-2.0
 *
 * What happens, for those who watch (server-sent events): the last messages, and who is to be woken for more.
 */
#ifndef HOOK_LIVE_H
#define HOOK_LIVE_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

struct hook_live;
int hook_live_new(struct hook_live **out, struct zp_error *err);
void hook_live_free(struct hook_live *live);

/* Any thread; waits for nobody. `type` is a word, `text` one line of JSON. */
void hook_live_send(struct hook_live *live, const char *type, const char *text);

/* A watcher hears of what is sent from now on. `wake` is called, with no lock held that matters to the watcher's own
 * calls, after something was sent; at most once until the watcher has asked for it all. */
struct hook_watcher {
        void (*wake)(void *context);
        void *context;
        struct hook_watcher *next; /* live.c's, as all below */
        uint64_t position;
        int is_woken;
};
void hook_live_watch(struct hook_live *live, struct hook_watcher *watcher);
void hook_live_unwatch(struct hook_live *live, struct hook_watcher *watcher);
/* Appends what the watcher has not seen, as server-sent events ("id: 7\nevent: build\ndata: {…}\n\n"), up to `limit`
 * bytes more or less. One who is too slow misses the oldest, and is told "event: missed". False: there is nothing,
 * and `wake` will be called. */
bool hook_live_read(struct hook_live *live, struct hook_watcher *watcher, size_t limit, struct zp_buffer *out);
/* Wakes everybody, and lets nobody wait any more: hook_live_read is always true. */
void hook_live_end(struct hook_live *live);

#endif
