/* SPDX-License-Identifier: Apache-2.0
 *
 * The remotes of a reader. Each has tokens, and a connection of its own by which they were fetched: as long as blobs of
 * it are open, and for those that were open last, so that what is opened again soon need not ask again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "remote/range-internal.h"

#define FILE_THREADS 4u

static int make_pool(struct zp_range_reader *reader, struct zp_error *err) {
        pthread_mutex_lock(&reader->lock);
        int r = reader->pool ? 0 : zp_pool_new(FILE_THREADS, &reader->pool, err);
        pthread_mutex_unlock(&reader->lock);
        return r;
}

static void remote_free(struct zp_range_remote *remote) {
        if (remote->servers)
                zp_range_servers_free(remote);
        if (remote->remote)
                zp_remote_close(remote->remote);
        free(remote->name);
        free(remote);
}
ZP_DEFINE_AUTO(struct zp_range_remote, remote_free);

static int open_remote(struct zp_range_reader *reader, const char *name, struct zp_range_remote **out,
                       struct zp_error *err) {
        zp_auto(remote_free) struct zp_range_remote *remote = calloc(1, sizeof *remote);
        if (!remote || !(remote->name = strdup(name)))
                return zp_error_errno(err, ENOMEM, "%s", name);
        remote->reader = reader;
        for (unsigned p = 0; p < ZP_RANGE_PRIORITIES; p++)
                TAILQ_INIT(&remote->waiting[p]);
        int r = zp_remote_open(name, &reader->options.source, &remote->remote, err);
        if (r == 0)
                r = zp_range_servers_make(remote, err);
        if (r == 0 && !remote->remote->kind->range)
                r = make_pool(reader, err);
        else if (r == 0 && remote->server_count == 0)
                r = zp_error_set(err, EACCES, "%s: no server may be pulled from (hosts.toml)", name);
        if (r < 0)
                return r;
        *out = zp_steal(&remote);
        return 0;
}

/* With one more user. NULL: it is not known. */
static struct zp_range_remote *known_remote(struct zp_range_reader *reader, const char *name) {
        pthread_mutex_lock(&reader->lock);
        struct zp_range_remote *remote = reader->remotes;
        while (remote && strcmp(remote->name, name) != 0)
                remote = remote->next;
        if (remote)
                remote->users++;
        pthread_mutex_unlock(&reader->lock);
        return remote;
}

int zp_range_remote_get(struct zp_range_reader *reader, const char *name, struct zp_range_remote **out,
                        struct zp_error *err) {
        *out = known_remote(reader, name);
        if (*out)
                return 0;
        int r = open_remote(reader, name, out, err);
        if (r < 0)
                return r;
        /* Two threads may open the same at once: then it is there twice, and both are good. */
        pthread_mutex_lock(&reader->lock);
        (*out)->users = 1;
        (*out)->next = reader->remotes;
        reader->remotes = *out;
        pthread_mutex_unlock(&reader->lock);
        return 0;
}

void zp_range_remote_let_go(struct zp_range_remote *remote) {
        struct zp_range_reader *reader = remote->reader;
        pthread_mutex_lock(&reader->lock);
        if (--remote->users == 0)
                remote->left = ++reader->remotes_left;
        pthread_mutex_unlock(&reader->lock);
}

/* Whether the thread has nothing to do with it either. Reads it has none: they are of blobs. */
static bool is_at_rest(const struct zp_range_remote *remote) {
        bool is_at_rest = remote->users == 0 && remote->requests == 0;
        for (unsigned i = 0; i < remote->server_count; i++)
                is_at_rest = is_at_rest && !remote->servers[i].has_clerk;
        return is_at_rest;
}

/* The one that was left first when there are more than are kept, out of the list. Lock held. */
static struct zp_range_remote *take_one_too_many(struct zp_range_reader *reader) {
        struct zp_range_remote **first = NULL;
        unsigned count = 0;
        for (struct zp_range_remote **link = &reader->remotes; *link; link = &(*link)->next)
                if (is_at_rest(*link)) {
                        first = !first || (*link)->left < (*first)->left ? link : first;
                        count++;
                }
        if (count <= ZP_RANGE_REMOTES_KEPT)
                return NULL;
        struct zp_range_remote *remote = *first;
        *first = remote->next;
        return remote;
}

void zp_range_remotes_trim(struct zp_range_reader *reader) {
        for (struct zp_range_remote *remote;;) {
                pthread_mutex_lock(&reader->lock);
                remote = take_one_too_many(reader);
                pthread_mutex_unlock(&reader->lock);
                if (!remote)
                        return;
                remote_free(remote);
        }
}

void zp_range_remotes_free(struct zp_range_reader *reader) {
        for (struct zp_range_remote *remote; (remote = reader->remotes);) {
                reader->remotes = remote->next;
                remote_free(remote);
        }
}
