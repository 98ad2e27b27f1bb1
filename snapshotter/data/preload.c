/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloads are asked on threads of their own: one may be a file system that hangs, which keeps up nobody for long.
 */
#include "snapshotter/data/preload.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/condition.h"
#include "snapshotter/data/data-internal.h"

/* As many looks into one preload may hang; it is passed over then until some come back. */
#define LOOKS_MAX 32
#define READERS 8

struct place {
        const char *path;
        unsigned looks;           /* under way */
        uint64_t passed_until_ms; /* it did not answer; 0: it did */
        bool is_told;
        struct zp_pool *readers; /* NULL: nobody has asked for them yet */
};

/* Belongs to its owner and to the looks under way, and goes with the last. */
struct snap_preloads {
        pthread_mutex_t lock;
        struct snap_preloads_options options;
        /* guarded by lock */
        unsigned owners;
        size_t count;
        struct place places[];
};

int snap_preloads_new(const struct snap_preloads_options *options, struct snap_preloads **out, struct zp_error *err) {
        size_t count = 0, size = 0;
        for (const char *const *path = options->paths; path && *path; path++, count++)
                size += strlen(*path) + 1;
        struct snap_preloads *all = calloc(1, sizeof *all + count * sizeof all->places[0] + size);
        if (!all)
                return zp_error_errno(err, ENOMEM, "preloads");
        char *text = (char *) &all->places[count]; /* a look may outlive the settings */
        for (size_t i = 0; i < count; i++) {
                all->places[i].path = strcpy(text, options->paths[i]);
                text += strlen(text) + 1;
        }
        pthread_mutex_init(&all->lock, NULL);
        all->options = *options;
        all->owners = 1;
        all->count = count;
        *out = all;
        return 0;
}

static void let_go(struct snap_preloads *all) {
        pthread_mutex_lock(&all->lock);
        bool is_last = --all->owners == 0;
        pthread_mutex_unlock(&all->lock);
        if (!is_last)
                return;
        for (size_t i = 0; i < all->count; i++)
                zp_pool_free(all->places[i].readers);
        pthread_mutex_destroy(&all->lock);
        free(all);
}

void snap_preloads_free(struct snap_preloads *all) {
        if (all)
                let_go(all);
}

size_t snap_preloads_count(const struct snap_preloads *all) {
        return all ? all->count : 0;
}

const char *snap_preloads_path(const struct snap_preloads *all, size_t number) {
        return all->places[number].path;
}

int snap_preloads_readers(struct snap_preloads *all, size_t number, struct zp_pool **out, struct zp_error *err) {
        struct place *place = &all->places[number];
        pthread_mutex_lock(&all->lock);
        int r = place->readers ? 0 : zp_pool_new(READERS, &place->readers, err);
        *out = place->readers;
        pthread_mutex_unlock(&all->lock);
        return r;
}

static void *run(void *argument) {
        struct snap_look *look = argument;
        struct snap_preloads *all = look->all;
        struct place *place = &all->places[look->number];
        look->work(look, place->path);
        pthread_mutex_lock(&all->lock);
        place->looks--;
        place->passed_until_ms = 0;
        place->is_told = false;
        look->is_done = true;
        bool is_forsaken = look->is_forsaken;
        if (!is_forsaken)
                pthread_cond_signal(&look->told);
        pthread_mutex_unlock(&all->lock);
        if (is_forsaken)
                snap_look_free(look);
        return NULL;
}

void snap_look_free(struct snap_look *look) {
        struct snap_preloads *all = look->all;
        pthread_cond_destroy(&look->told);
        look->free(look);
        let_go(all);
}

static int start(struct snap_look *look) {
        sigset_t every, before;
        pthread_t thread;
        sigfillset(&every);
        pthread_sigmask(SIG_SETMASK, &every, &before);
        int code = pthread_create(&thread, NULL, run, look);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (code == 0)
                pthread_detach(thread);
        return code;
}

/* Whether it came back in time; else it frees itself when it does. Lock held. */
static bool await(struct snap_look *look) {
        struct snap_preloads *all = look->all;
        uint64_t until_ms = zp_monotonic_ms() + all->options.patience_ms;
        while (!look->is_done && zp_condition_wait_until(&look->told, &all->lock, until_ms))
                continue;
        look->is_forsaken = !look->is_done;
        return look->is_done;
}

/* Whether it is to be told. Lock held. */
static bool pass_over(struct snap_preloads *all, struct place *place) {
        bool is_news = !place->is_told;
        place->is_told = true;
        place->passed_until_ms = zp_monotonic_ms() + all->options.pause_ms;
        return is_news;
}

int snap_preloads_ask(struct snap_preloads *all, size_t number, struct snap_look *look, struct zp_error *err) {
        struct place *place = &all->places[number];
        look->all = all;
        look->number = number;
        zp_condition_init(&look->told);
        pthread_mutex_lock(&all->lock);
        all->owners++;
        bool is_asked = zp_monotonic_ms() >= place->passed_until_ms && place->looks < LOOKS_MAX, is_news = false;
        place->looks += is_asked;
        int code = is_asked ? start(look) : ETIMEDOUT;
        if (is_asked && code)
                place->looks--;
        bool has_thread = code == 0;
        if (has_thread && !await(look)) {
                is_news = pass_over(all, place);
                code = ETIMEDOUT;
        }
        pthread_mutex_unlock(&all->lock);
        if (!has_thread)
                snap_look_free(look);
        if (code)
                zp_error_set(err, code, "preload '%s': %s", place->path,
                             code == ETIMEDOUT ? "it does not answer, and is passed over" : "no thread can be started");
        if (is_news && all->options.notice && err)
                all->options.notice(all->options.context, err->message);
        return -code;
}
