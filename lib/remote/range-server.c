/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "remote/range-internal.h"

#define FILES_AT_A_TIME 4
#define FILES_NAME "files"

static struct zp_range_host *host_named(struct zp_range_reader *reader, const char *name, unsigned limit,
                                        struct zp_error *err) {
        struct zp_range_host *host = NULL;
        pthread_mutex_lock(&reader->lock);
        for (host = reader->hosts; host && strcmp(host->name, name) != 0; host = host->next)
                ;
        if (!host && (host = calloc(1, sizeof *host))) {
                *host = (struct zp_range_host){ .next = reader->hosts, .name = strdup(name), .limit = limit };
                if (host->name)
                        reader->hosts = host;
                else
                        free(zp_steal(&host));
        }
        pthread_mutex_unlock(&reader->lock);
        if (!host)
                zp_error_errno(err, ENOMEM, "server %s", name);
        return host;
}

int zp_range_servers_make(struct zp_range_remote *remote, struct zp_error *err) {
        const struct zp_range_kind *kind = remote->remote->kind->range;
        void *state = remote->remote->state;
        unsigned count = kind ? kind->server_count(state) : 1;
        remote->servers = calloc(count ? count : 1, sizeof *remote->servers);
        if (!remote->servers)
                return zp_error_errno(err, ENOMEM, "%s", remote->name);
        remote->server_count = count;
        for (unsigned i = 0; i < count; i++) {
                struct zp_range_server *server = &remote->servers[i];
                server->remote = remote;
                server->index = i;
                server->host = host_named(remote->reader, kind ? kind->server_name(state, i) : FILES_NAME,
                                          kind ? remote->reader->options.requests_per_server : FILES_AT_A_TIME, err);
                if (!server->host)
                        return -ENOMEM;
        }
        return 0;
}

static void forget_errand(struct zp_range_server *server) {
        zp_range_head_clear(&server->refused);
        free(zp_steal(&server->challenges));
}

void zp_range_servers_free(struct zp_range_remote *remote) {
        for (unsigned i = 0; i < remote->server_count; i++)
                forget_errand(&remote->servers[i]);
        free(remote->servers);
}

/* Two, so that the line is not idle between one and the next. */
static unsigned limit_of(const struct zp_range_host *host, enum zp_range_priority priority) {
        unsigned few = host->limit / 8 > 2 ? host->limit / 8 : 2;
        return priority == ZP_RANGE_DEMAND || host->limit < few ? host->limit : few;
}

bool zp_range_server_may_send(const struct zp_range_server *server, enum zp_range_priority priority, uint64_t now_ms) {
        return server->host->active < limit_of(server->host, priority) && server->not_before_ms <= now_ms &&
               !server->has_clerk;
}

static int run_errand(struct zp_range_server *server, struct zp_error *err) {
        const struct zp_remote *remote = server->remote->remote;
        struct zp_range_head head = { 0 };
        int r = 0;
        if (server->refused.url)
                r = remote->kind->range->answer(remote->state, server->index, &server->refused, server->challenges,
                                                err);
        if (r == 0)
                r = remote->kind->range->head(remote->state, server->index, &server->clerk_blob, true, &head, err);
        zp_range_head_clear(&head);
        return r;
}

static void *clerk(void *argument) {
        struct zp_range_server *server = argument;
        struct zp_range_reader *reader = server->remote->reader;
        server->clerk_result = run_errand(server, &server->clerk_err);
        pthread_mutex_lock(&reader->lock);
        server->is_clerk_done = true;
        pthread_mutex_unlock(&reader->lock);
        zp_http_multi_wake(reader->multi);
        return NULL;
}

void zp_range_clerk_send(struct zp_range_server *server, const struct zp_descriptor *blob,
                         struct zp_range_head *refused, const char *challenges) {
        struct zp_range_reader *reader = server->remote->reader;
        if (server->has_clerk)
                return;
        forget_errand(server);
        server->clerk_blob = *blob;
        server->clerk_err = (struct zp_error){ 0 };
        if (challenges) {
                server->challenges = strdup(challenges);
                if (!server->challenges)
                        return;
                server->refused = *refused;
                *refused = (struct zp_range_head){ 0 };
        }
        if (pthread_create(&server->clerk, NULL, clerk, server) != 0) {
                server->not_before_ms =
                        zp_clock_ms() + zp_retry_delay_ms(&server->retry, &(struct zp_http_response){ 0 });
                return;
        }
        server->has_clerk = true;
        reader->clerks++;
}

void zp_range_server_failed(struct zp_range_server *server, const struct zp_error *reason, const char *consequence) {
        server->reason = *reason;
        if (!server->is_failing)
                zp_notice_tell(&server->remote->reader->options.source.notice, "%s: %s; %s", server->host->name,
                               reason->message, consequence);
        server->is_failing = true;
}

/* Without a token nothing goes: for now, or for good. */
static void clerk_failed(struct zp_range_server *server) {
        int r = server->clerk_result;
        bool is_final = r == -EACCES || r == -EPROTO || r == -EBADMSG || r == -ENOMEM || r == -ENOENT;
        if (!is_final && server->remote->server_count == 1) {
                server->retry.failures++;
                server->not_before_ms =
                        zp_clock_ms() + zp_retry_delay_ms(&server->retry, &(struct zp_http_response){ 0 });
                zp_range_server_failed(server, &server->clerk_err, "trying again");
                return;
        }
        for (unsigned p = 0; p < ZP_RANGE_PRIORITIES; p++) {
                struct zp_range_reads *queue = &server->remote->waiting[p];
                for (struct zp_range_read *read = TAILQ_FIRST(queue), *next; read; read = next) {
                        next = TAILQ_NEXT(read, in_queue);
                        if (read->server != server->index)
                                continue;
                        zp_range_dequeue(read);
                        zp_range_fail(read, r, &server->clerk_err, !is_final, NULL);
                }
        }
}

static void clerk_returns(struct zp_range_server *server) {
        pthread_join(server->clerk, NULL);
        server->has_clerk = server->is_clerk_done = false;
        server->remote->reader->clerks--;
        forget_errand(server);
        if (server->clerk_result < 0) {
                clerk_failed(server);
                return;
        }
        server->retry = (struct zp_retry){ 0 };
}

void zp_range_clerks_return(struct zp_range_reader *reader) {
        pthread_mutex_lock(&reader->lock);
        struct zp_range_remote *remotes = reader->remotes;
        pthread_mutex_unlock(&reader->lock);
        for (struct zp_range_remote *remote = remotes; reader->clerks && remote; remote = remote->next)
                for (unsigned i = 0; i < remote->server_count; i++) {
                        struct zp_range_server *server = &remote->servers[i];
                        pthread_mutex_lock(&reader->lock);
                        bool is_done = server->is_clerk_done;
                        pthread_mutex_unlock(&reader->lock);
                        if (is_done)
                                clerk_returns(server);
                }
}
