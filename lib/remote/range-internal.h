/* SPDX-License-Identifier: Apache-2.0
 *
 * How a range reader is built. Everything belongs to its thread, but for what is said to be guarded by the lock.
 *
 *     range.c          what callers call
 *     range-thread.c   the thread's loop, and what becomes of a read
 *     range-queue.c    which reads wait, and which of them travel together
 *     range-request.c  a request on its way: redirects, refusals, bytes to their buffers (of several ranges: by
 *                      oci/byteranges.h)
 *     range-remote.c   remotes, as long as they are of use
 *     range-server.c   who may send how much to which server, and the fetching of tokens beside the thread
 */
#ifndef ZP_REMOTE_RANGE_INTERNAL_H
#define ZP_REMOTE_RANGE_INTERNAL_H

#include <pthread.h>
#include <sys/queue.h>

#include "base/pool.h"
#include "oci/fetch.h"
#include "oci/http-multi.h"
#include "remote/range.h"
#include "remote/remote-internal.h"

struct zp_range_request;

struct zp_range_read {
        TAILQ_ENTRY(zp_range_read) by_age;   /* all that are not done yet; guarded by lock */
        TAILQ_ENTRY(zp_range_read) in_queue; /* new ones (guarded by lock), those that wait, those that were read */
        TAILQ_ENTRY(zp_range_read) by_place; /* those of a blob that wait; parts of a request */
        struct zp_range_blob *blob;
        uint64_t offset, size, filled;
        char *buffer;
        zp_range_done done;
        void *context;
        enum zp_range_priority priority;
        enum zp_range_priority wanted_priority; /* guarded by lock */
        bool is_cancelled;                      /* guarded by lock */
        bool is_waiting, is_in_pool;
        struct zp_range_request *request; /* NULL: none is under way */
        uint64_t deadline_ms, not_before_ms;
        unsigned server; /* whose turn it is */
        struct zp_retry retry;
        unsigned challenges;       /* 401 since bytes came last */
        bool wants_new_connection; /* the last one stalled or broke */
        bool goes_alone;           /* a request of several ranges has failed with it */
        struct zp_pool_item item;  /* of a file */
        int result;                /* of that */
        struct zp_error *err;      /* malloc'ed; NULL: none */
};
TAILQ_HEAD(zp_range_reads, zp_range_read);
TAILQ_HEAD(zp_range_requests, zp_range_request);

/* A server, whichever remotes are on it. */
struct zp_range_host {
        struct zp_range_host *next;
        char *name;
        unsigned active, limit;   /* requests */
        uint64_t several_from_ms; /* it gets none of several ranges before */
};

/* One of the servers that have a remote's blobs. */
struct zp_range_server {
        struct zp_range_remote *remote;
        unsigned index;
        struct zp_range_host *host;
        uint64_t avoid_until_ms; /* it has failed, and there are others */
        uint64_t not_before_ms;  /* it has asked to be left alone, or gives no token for now */
        struct zp_retry retry;   /* of the clerk */
        bool is_failing;         /* and the user has been told */
        struct zp_error reason;  /* of the last failure */
        /* The clerk, a thread that gets what may have to be waited for. */
        bool has_clerk;
        bool is_clerk_done; /* guarded by lock */
        pthread_t clerk;
        struct zp_descriptor clerk_blob;
        struct zp_range_head refused; /* what a 401 answered; no url: none */
        char *challenges;
        int clerk_result;
        struct zp_error clerk_err;
};

struct zp_range_remote {
        struct zp_range_remote *next;
        struct zp_range_reader *reader;
        struct zp_remote *remote;
        char *name;
        unsigned server_count;
        struct zp_range_server *servers;
        struct zp_range_reads waiting[ZP_RANGE_PRIORITIES];
        uint64_t waiting_bytes[ZP_RANGE_PRIORITIES];
        unsigned requests; /* under way, also such as nobody waits for any more */
        unsigned users;    /* open blobs; guarded by lock */
        uint64_t left;     /* the larger, the later nobody had any open any more; guarded by lock */
};

struct zp_range_blob {
        struct zp_range_remote *remote;
        struct zp_descriptor descriptor;
        unsigned outstanding; /* reads; guarded by lock */
        struct zp_range_reads waiting;
        unsigned server;  /* where reads begin: the ones before have failed */
        char **elsewhere; /* one per server: where it sent us; NULL: not known */
};

struct zp_range_reader {
        struct zp_range_options options;
        char *strings[5]; /* of options.source */
        struct zp_cancel cancel;
        pthread_t thread;
        struct zp_http_multi *multi;
        struct zp_pool *pool; /* reads files; made with the first remote that has some; guarded by lock */
        pthread_mutex_t lock;
        pthread_cond_t done; /* some blob has fewer outstanding reads */
        /* guarded by lock */
        struct zp_range_reads reads;     /* all, oldest first */
        struct zp_range_reads arriving;  /* not yet seen by the thread */
        struct zp_range_reads was_read;  /* from files */
        struct zp_range_remote *remotes; /* taken out by the thread alone */
        uint64_t remotes_left;           /* so many times one was left by all */
        bool has_orders;                 /* some read was raised or cancelled */
        bool is_ending;
        struct zp_range_statistics statistics;
        /* the thread's */
        struct zp_range_host *hosts; /* guarded by lock while it grows */
        unsigned clerks;
        struct zp_range_requests ending; /* whose last bytes nobody waits for; oldest first */
};

static inline uint64_t zp_range_read_next(const struct zp_range_read *read) {
        return read->offset + read->filled;
}
static inline uint64_t zp_range_read_end(const struct zp_range_read *read) {
        return read->offset + read->size;
}
static inline struct zp_range_server *zp_range_read_server(const struct zp_range_read *read) {
        return &read->blob->remote->servers[read->server];
}

/* range-queue.c */
void zp_range_enqueue(struct zp_range_read *read, bool at_front);
void zp_range_dequeue(struct zp_range_read *read);
/* Takes the reads that go in one request with `read`, which is one of them, out of the queue and into `parts`, by
 * place. What lies behind it may be less urgent; what lies before would delay it, and may not. */
void zp_range_gather(struct zp_range_read *read, const struct zp_range_options *limits, uint64_t now_ms,
                     struct zp_range_reads *parts);

/* Instead, for one request of several ranges: those that are the first in the queue, in its order, whatever lies
 * between them, if they are due and have not failed so before. */
#define ZP_RANGES_MAX 32
void zp_range_gather_several(struct zp_range_read *read, const struct zp_range_options *limits, uint64_t now_ms,
                             struct zp_range_reads *parts);

/* range-request.c */
/* Sends a waiting read, and others with it, unless the clerk has to go first. */
void zp_range_request_start(struct zp_range_read *read);
/* Takes a read out of its request, which ends if it was its last. */
void zp_range_request_leave(struct zp_range_read *read);
/* Outside of requests: ends those that have all that was wanted and whose response does not end by itself in time. */
void zp_range_requests_end(struct zp_range_reader *reader, uint64_t now_ms);

/* range-remote.c */
/* So many of which no blob is open are kept: each has tokens, a connection, and three file descriptors for it. */
#define ZP_RANGE_REMOTES_KEPT 16
/* Opened, or one that is open already. It is there until it is let go. Any thread. */
int zp_range_remote_get(struct zp_range_reader *reader, const char *name, struct zp_range_remote **out,
                        struct zp_error *err);
void zp_range_remote_let_go(struct zp_range_remote *remote);
/* The thread's, outside of requests: closes those that were left first, but for so many. */
void zp_range_remotes_trim(struct zp_range_reader *reader);
/* After the thread's end. */
void zp_range_remotes_free(struct zp_range_reader *reader);

/* range-server.c */
int zp_range_servers_make(struct zp_range_remote *remote, struct zp_error *err);
void zp_range_servers_free(struct zp_range_remote *remote);
bool zp_range_server_may_send(const struct zp_range_server *server, enum zp_range_priority priority, uint64_t now_ms);
/* Sends the clerk, unless it is under way, to have ready what a head of this blob needs; with `challenges` (or NULL)
 * to answer the 401 that `refused` has met, which is taken over. */
void zp_range_clerk_send(struct zp_range_server *server, const struct zp_descriptor *blob,
                         struct zp_range_head *refused, const char *challenges);
/* Hears what clerks have to say. */
void zp_range_clerks_return(struct zp_range_reader *reader);
/* Tells the user, once until it goes well again, that a server fails. */
void zp_range_server_failed(struct zp_range_server *server, const struct zp_error *reason, const char *consequence);

/* range-thread.c */
void *zp_range_run(void *reader);
/* Calls `done` and frees it. It is in no queue and no request. */
void zp_range_complete(struct zp_range_read *read, int result, const struct zp_error *err);
/* What comes after a failure at a server: another server, another time, or the end. */
void zp_range_fail(struct zp_range_read *read, int result, const struct zp_error *err, bool may_retry,
                   const struct zp_http_response *response);

#endif
