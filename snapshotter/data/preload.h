/* SPDX-License-Identifier: Apache-2.0
 *
 * Directories that others provide, each on a file system that may hang: who looks into one waits for a few seconds, and
 * then it is passed over for a while.
 */
#ifndef SNAP_DATA_PRELOAD_H
#define SNAP_DATA_PRELOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/pool.h"

struct snap_preloads_options {
        const char *const *paths; /* copied; NULL-terminated, or NULL: none */
        unsigned patience_ms;     /* with a look */
        unsigned pause_ms;        /* until one that did not answer is asked again */
        /* What an administrator should know, once until it answers again. May be NULL. */
        void (*notice)(void *context, const char *line);
        void *context;
};

struct snap_preloads;
int snap_preloads_new(const struct snap_preloads_options *options, struct snap_preloads **out, struct zp_error *err);
/* Waits for no look that hangs, but for its readers. NULL is allowed, here and for the count. */
void snap_preloads_free(struct snap_preloads *preloads);
size_t snap_preloads_count(const struct snap_preloads *preloads);
const char *snap_preloads_path(const struct snap_preloads *preloads, size_t number);
/* Threads that read and close the files of one preload, so that others go on when it hangs. They end with the preloads.
 */
int snap_preloads_readers(struct snap_preloads *preloads, size_t number, struct zp_pool **out, struct zp_error *err);

/* One look into a preload; what is looked for and what was found, the struct has that begins with it. */
struct snap_look {
        /* On a thread of its own, perhaps long after who asked has gone on. */
        void (*work)(struct snap_look *look, const char *path);
        void (*free)(struct snap_look *look);
        /* the rest is preload.c's */
        struct snap_preloads *all;
        size_t number;
        pthread_cond_t told;
        bool is_done, is_forsaken;
};
/* 0: its work is done, and snap_look_free() is the caller's. Else the look is not the caller's any more: -ETIMEDOUT,
 * the preload does not answer; or there is no thread for it. Any thread. */
int snap_preloads_ask(struct snap_preloads *preloads, size_t number, struct snap_look *look, struct zp_error *err);
void snap_look_free(struct snap_look *look);

#endif
