/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/learned.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOSTS_MAX 256 /* and repositories */
#define KEPT_S 600

struct host {
        char *name;       /* NULL: unused */
        unsigned lessons; /* of enum zp_lesson */
        time_t until;     /* monotonic seconds */
};

struct zp_learned {
        pthread_mutex_t lock;
        struct host hosts[HOSTS_MAX]; /* guarded by lock */
};

static time_t now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

int zp_learned_new(struct zp_learned **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "registries");
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void zp_learned_free(struct zp_learned *learned) {
        if (!learned)
                return;
        for (size_t i = 0; i < HOSTS_MAX; i++)
                free(learned->hosts[i].name);
        pthread_mutex_destroy(&learned->lock);
        free(learned);
}

/* That of the name, or the one that is to make room for it: unused, or the one that ends first. */
static struct host *find(struct zp_learned *learned, const char *name) {
        struct host *oldest = &learned->hosts[0];
        for (struct host *host = learned->hosts; host < learned->hosts + HOSTS_MAX; host++) {
                if (host->name && strcmp(host->name, name) == 0)
                        return host;
                if (oldest->name && (!host->name || host->until < oldest->until))
                        oldest = host;
        }
        return oldest;
}

static bool is_of(const struct host *host, const char *name) {
        return host->name && strcmp(host->name, name) == 0 && now_s() < host->until;
}

bool zp_learned_knows(struct zp_learned *learned, const char *name, enum zp_lesson lesson) {
        if (!learned)
                return false;
        pthread_mutex_lock(&learned->lock);
        const struct host *host = find(learned, name);
        bool knows = is_of(host, name) && (host->lessons & lesson);
        pthread_mutex_unlock(&learned->lock);
        return knows;
}

void zp_learned_note(struct zp_learned *learned, const char *name, enum zp_lesson lesson) {
        if (!learned)
                return;
        pthread_mutex_lock(&learned->lock);
        struct host *host = find(learned, name);
        if (!is_of(host, name)) {
                free(host->name);
                *host = (struct host){ .name = strdup(name), .until = now_s() + KEPT_S };
        }
        host->lessons |= lesson;
        pthread_mutex_unlock(&learned->lock);
}

void zp_learned_forget(struct zp_learned *learned, const char *name) {
        if (!learned)
                return;
        pthread_mutex_lock(&learned->lock);
        struct host *host = find(learned, name);
        if (is_of(host, name))
                host->until = 0;
        pthread_mutex_unlock(&learned->lock);
}
