/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/mounts/announce.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "snapshotter/data/data.h"

#define IMAGES_MAX 16

/* Belongs to the thread and to the owner, and goes with the one that ends last. */
struct snap_announcer {
        char *devices;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        unsigned owners;
        bool is_ending;
        struct zp_digest images[IMAGES_MAX];
        unsigned first, count;
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

static void *tell_all(void *argument) {
        struct snap_announcer *a = argument;
        pthread_mutex_lock(&a->lock);
        while (!a->is_ending) {
                if (!a->count) {
                        pthread_cond_wait(&a->changed, &a->lock);
                        continue;
                }
                struct zp_digest image = a->images[a->first];
                a->first = (a->first + 1) % IMAGES_MAX;
                a->count--;
                pthread_mutex_unlock(&a->lock);
                snap_data_start_image(a->devices, &image);
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
        pthread_cond_init(&a->changed, NULL);
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

void snap_announcer_tell(struct snap_announcer *a, const struct zp_digest *image) {
        pthread_mutex_lock(&a->lock);
        if (a->count < IMAGES_MAX)
                a->images[(a->first + a->count++) % IMAGES_MAX] = *image;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
}
