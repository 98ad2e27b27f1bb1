/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mounts/announce.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/condition.h"
#include "snapshotter/data/data.h"

#define IMAGES_MAX 16
/* What fetches data takes the processors that the rest of a pull needs, and the mount of a container that comes at
 * once: that has it fetched itself. A little keeps the line busy until then. */
#define REST_MS 500

/* Of one image, the later ones say more. */
enum news { EXPECTED_FIRST, EXPECTED_REST, STARTED };

struct announcement {
        struct zp_digest image;
        enum news news;
        uint64_t due_ms; /* monotonic */
};

/* Belongs to the thread and to the owner, and goes with the one that ends last. */
struct snap_announcer {
        char *devices;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        unsigned owners;
        bool is_ending;
        struct announcement list[IMAGES_MAX];
        unsigned count;
};

static void let_go(struct snap_announcer *a) {
        pthread_mutex_lock(&a->lock);
        bool is_last = --a->owners == 0;
        pthread_mutex_unlock(&a->lock);
        if (!is_last)
                return;
        pthread_mutex_destroy(&a->lock);
        pthread_cond_destroy(&a->changed);
        free(a->devices);
        free(a);
}

/* NULL: none. Lock held. */
static struct announcement *earliest(struct snap_announcer *a) {
        struct announcement *found = NULL;
        for (unsigned i = 0; i < a->count; i++)
                if (!found || a->list[i].due_ms < found->due_ms)
                        found = &a->list[i];
        return found;
}

static void tell(const struct snap_announcer *a, const struct announcement *told) {
        if (told->news == STARTED)
                snap_data_start_image(a->devices, &told->image);
        else
                snap_data_expect_image(a->devices, &told->image, told->news == EXPECTED_REST);
}

static void *tell_all(void *argument) {
        struct snap_announcer *a = argument;
        pthread_mutex_lock(&a->lock);
        while (!a->is_ending) {
                struct announcement *next = earliest(a);
                if (!next) {
                        pthread_cond_wait(&a->changed, &a->lock);
                        continue;
                }
                if (next->due_ms > zp_monotonic_ms()) {
                        zp_condition_wait_until(&a->changed, &a->lock, next->due_ms);
                        continue;
                }
                struct announcement told = *next;
                if (told.news == EXPECTED_FIRST) {
                        next->news = EXPECTED_REST;
                        next->due_ms += REST_MS;
                } else {
                        *next = a->list[--a->count];
                }
                pthread_mutex_unlock(&a->lock);
                tell(a, &told);
                pthread_mutex_lock(&a->lock);
        }
        pthread_mutex_unlock(&a->lock);
        let_go(a);
        return NULL;
}

int snap_announcer_new(const char *devices, struct snap_announcer **out, struct zp_error *err) {
        struct snap_announcer *a = calloc(1, sizeof *a);
        if (a)
                a->devices = strdup(devices);
        if (!a || !a->devices) {
                free(a);
                return zp_error_errno(err, ENOMEM, "mounts");
        }
        pthread_mutex_init(&a->lock, NULL);
        zp_condition_init(&a->changed);
        a->owners = 2;
        sigset_t all, before;
        pthread_t thread;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&thread, NULL, tell_all, a);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (code) {
                a->owners = 1;
                let_go(a);
                return zp_error_errno(err, code, "start a thread");
        }
        pthread_detach(thread);
        *out = a;
        return 0;
}

void snap_announcer_free(struct snap_announcer *a) {
        if (!a)
                return;
        pthread_mutex_lock(&a->lock);
        a->is_ending = true;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
        let_go(a);
}

/* Where it is put; NULL: nowhere. Lock held. */
static struct announcement *place_for(struct snap_announcer *a, const struct announcement *news) {
        struct announcement *expected = NULL;
        for (unsigned i = 0; i < a->count; i++) {
                if (zp_digest_equal(&a->list[i].image, &news->image))
                        return &a->list[i];
                if (a->list[i].news != STARTED)
                        expected = &a->list[i];
        }
        if (a->count < IMAGES_MAX) {
                a->list[a->count] = *news;
                return &a->list[a->count++];
        }
        return news->news == STARTED ? expected : NULL;
}

static void add(struct snap_announcer *a, const struct announcement *news) {
        pthread_mutex_lock(&a->lock);
        struct announcement *place = place_for(a, news);
        if (place && news->news >= place->news)
                *place = *news;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
}

void snap_announcer_start(struct snap_announcer *a, const struct zp_digest *image) {
        add(a, &(struct announcement){ .image = *image, .news = STARTED, .due_ms = zp_monotonic_ms() });
}

void snap_announcer_expect(struct snap_announcer *a, const struct zp_digest *image) {
        add(a, &(struct announcement){ .image = *image, .news = EXPECTED_FIRST, .due_ms = zp_monotonic_ms() });
}
