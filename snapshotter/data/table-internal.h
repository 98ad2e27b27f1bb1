/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the table of devices share.
 */
#ifndef SNAP_TABLE_INTERNAL_H
#define SNAP_TABLE_INTERNAL_H

#include "base/pool.h"
#include "snapshotter/data/data-internal.h"

#define SNAP_TABLE_BUCKETS 1024

struct snap_entry {
        struct snap_entry *next;
        struct snap_table *table;
        uint64_t id;
        struct zp_pool_item item; /* of who opens or closes it */
        /* guarded by the table's lock */
        struct zp_digest digest;
        bool has_digest;          /* else it is looked for by the number */
        uint64_t size;            /* 0: it was never open */
        struct zp_device *device; /* NULL: closed */
        bool is_changing;         /* somebody opens or closes it */
        unsigned users;
        uint64_t used_ms;
        struct snap_wait *waiting; /* for it to be open */
        unsigned given_up;         /* so many waits of late, */
        uint64_t again_until_ms;   /* each of which may come again until then, for a short one */
        struct zp_error *why;      /* it could not be opened last; NULL: nothing is known */
        unsigned pause_ms;         /* after that */
        uint64_t retry_at_ms;      /* when that is over; 0: it does not pause */
        uint64_t tell_again_ms;    /* that it could not be opened in time */
        struct snap_remote remote; /* where its pack was last; only who opens it */
};

struct snap_table {
        struct snap_data *data;
        pthread_mutex_t lock;
        struct snap_entry *buckets[SNAP_TABLE_BUCKETS];
        struct zp_pool *openers, *closers;
        pthread_cond_t closer_wake, waits_wake;
        pthread_t closer, timekeeper;
        bool has_closer, has_timekeeper;
        uint64_t idle_ms, deadline_ms;
        /* guarded by lock */
        bool is_ending;
        unsigned open_count; /* without those that are being closed */
        uint64_t next_ms;    /* when somebody has waited or something paused long enough; 0: nobody and nothing does */
};

/* opening.c: has an entry opened that nobody is at. Lock held. */
void snap_entry_begin_open(struct snap_entry *entry);
/* Adds one who waits for it to be open; its deadline is set here. Lock held. */
void snap_entry_wait(struct snap_entry *entry, struct snap_wait *wait);
/* The thread that tells those who have waited long enough, and has opened again what has paused after a failure. */
void *snap_table_keep_time(void *table);

/* idle.c: the thread that has closed what nobody uses. */
void *snap_table_close_in_time(void *table);

#endif
