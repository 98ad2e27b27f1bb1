/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/silent.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LATE_MAX 2
#define REMEMBERED_S 30
/* More at a time that do not answer: those that did not for the longest time are forgotten. */
#define REGISTRIES 16

struct registry {
        char *name; /* NULL: never used */
        unsigned late;
        time_t until_s; /* monotonic */
};

struct snap_silent {
        pthread_mutex_t lock;
        struct registry registries[REGISTRIES]; /* guarded by lock */
};

static time_t now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

int snap_silent_new(struct snap_silent **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "acceleration");
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void snap_silent_free(struct snap_silent *silent) {
        if (!silent)
                return;
        for (unsigned i = 0; i < REGISTRIES; i++)
                free(silent->registries[i].name);
        pthread_mutex_destroy(&silent->lock);
        free(silent);
}

/* That of the image, or NULL; *oldest: the one to be used for it. */
static struct registry *find(struct snap_silent *silent, const char *reference, struct registry **oldest) {
        size_t size = strcspn(reference, "/");
        *oldest = silent->registries;
        for (struct registry *r = silent->registries; r < silent->registries + REGISTRIES; r++) {
                if (r->name && strlen(r->name) == size && memcmp(r->name, reference, size) == 0)
                        return r;
                if (r->until_s < (*oldest)->until_s)
                        *oldest = r;
        }
        return NULL;
}

int snap_silent_check(struct snap_silent *silent, const char *reference, struct zp_error *err) {
        struct registry *unused;
        int r = 0;
        pthread_mutex_lock(&silent->lock);
        const struct registry *known = find(silent, reference, &unused);
        if (known && known->late >= LATE_MAX && now_s() < known->until_s)
                r = zp_error_set(err, ETIMEDOUT,
                                 "the registry %s was not asked: it did not answer in time, %u times in a row",
                                 known->name, known->late);
        pthread_mutex_unlock(&silent->lock);
        return r;
}

void snap_silent_note(struct snap_silent *silent, const char *reference, bool is_late) {
        struct registry *unused;
        pthread_mutex_lock(&silent->lock);
        struct registry *known = find(silent, reference, &unused);
        if (!known && is_late) {
                char *name = strndup(reference, strcspn(reference, "/"));
                if (name) {
                        free(unused->name);
                        *unused = (struct registry){ .name = name };
                        known = unused;
                }
        }
        if (known && is_late)
                known->late++;
        else if (known)
                known->late = 0;
        if (known)
                known->until_s = is_late ? now_s() + REMEMBERED_S : 0;
        pthread_mutex_unlock(&silent->lock);
}
