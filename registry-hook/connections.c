/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/connections.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "registry-hook/clock.h"

struct hook_connection {
        struct hook_connection *next, **link;
        int fd;
        int64_t waiting_since_ms; /* monotonic; 0: nobody waits for the client */
};

struct hook_connections {
        int64_t patience_ms;
        size_t crowd;
        pthread_mutex_t lock;
        struct hook_connection *first; /* guarded by lock, and each one's fields */
        size_t count;                  /* as is this */
};

int hook_connections_new(int64_t patience_ms, size_t crowd, struct hook_connections **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "connections");
        (*out)->patience_ms = patience_ms;
        (*out)->crowd = crowd;
        pthread_mutex_init(&(*out)->lock, NULL);
        return 0;
}

void hook_connections_free(struct hook_connections *connections) {
        for (struct hook_connection *c = connections->first, *next; c; c = next) {
                next = c->next;
                free(c);
        }
        pthread_mutex_destroy(&connections->lock);
        free(connections);
}

struct hook_connection *hook_connections_add(struct hook_connections *connections, int fd) {
        struct hook_connection *c = calloc(1, sizeof *c);
        if (!c)
                return NULL;
        c->fd = fd;
        c->waiting_since_ms = hook_monotonic_ms();
        pthread_mutex_lock(&connections->lock);
        c->next = connections->first;
        c->link = &connections->first;
        if (c->next)
                c->next->link = &c->next;
        connections->first = c;
        connections->count++;
        pthread_mutex_unlock(&connections->lock);
        return c;
}

void hook_connections_remove(struct hook_connections *connections, struct hook_connection *c) {
        if (!c)
                return;
        pthread_mutex_lock(&connections->lock);
        *c->link = c->next;
        if (c->next)
                c->next->link = c->link;
        connections->count--;
        pthread_mutex_unlock(&connections->lock);
        free(c);
}

void hook_connections_set_waiting(struct hook_connections *connections, struct hook_connection *c, bool is_waiting) {
        if (!c)
                return;
        pthread_mutex_lock(&connections->lock);
        c->waiting_since_ms = is_waiting ? hook_monotonic_ms() : 0;
        pthread_mutex_unlock(&connections->lock);
}

/* Whether the client has said something that was not read yet: then it is we who let it wait. */
static bool has_unread(const struct hook_connection *c) {
        int unread = 0;
        return ioctl(c->fd, FIONREAD, &unread) == 0 && unread > 0;
}

void hook_connections_end_slow(struct hook_connections *connections, int64_t monotonic_ms) {
        pthread_mutex_lock(&connections->lock);
        bool is_crowded = connections->count >= connections->crowd && connections->patience_ms > HOOK_CROWDED_MS;
        int64_t patience_ms = is_crowded ? HOOK_CROWDED_MS : connections->patience_ms;
        for (struct hook_connection *c = connections->first; c; c = c->next) {
                int64_t waited_ms = c->waiting_since_ms ? monotonic_ms - c->waiting_since_ms : 0;
                if (waited_ms > patience_ms && (waited_ms > connections->patience_ms || !has_unread(c))) {
                        shutdown(c->fd, SHUT_RDWR); /* whoever serves it sees its end, and closes it */
                        c->waiting_since_ms = 0;
                }
        }
        pthread_mutex_unlock(&connections->lock);
}
