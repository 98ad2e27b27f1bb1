/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's state. One lock guards all of it; no origin, disk or `done` is called with the lock held.
 */
#ifndef ZP_DEVICE_DEVICE_INTERNAL_H
#define ZP_DEVICE_DEVICE_INTERNAL_H

#include <pthread.h>

#include "base/condition.h"
#include "base/pool.h"
#include "device/device.h"
#include "device/record.h"
#include "device/slow-file.h"
#include "pack/index.h"

#define ZP_FETCH_BUCKETS 256
#define ZP_STREAMS 4
#define ZP_GIVEN_UP_SLOTS 1024

enum zp_fetch_state { ZP_FETCH_QUEUED, ZP_FETCH_PAUSED, ZP_FETCH_UNDER_WAY };

/* One frame that somebody wants. Made by the first, joined by all others, gone when the frame is here or given up. */
struct zp_fetch {
        struct zp_fetch *next;                    /* in its bucket */
        struct zp_fetch *queue_next, *queue_prev; /* of its urgency, while queued */
        struct zp_device *device;
        struct zp_pack_frame frame;
        uint32_t number;
        enum zp_fetch_state state;
        enum zp_device_urgency urgency;
        bool was_demanded, is_cancelled;
        unsigned origin, failures, wrong;
        uint64_t resume_ms; /* while paused */
        uint8_t *packed;
        int result; /* of the origin */
        struct zp_pool_item item;
};

/* A reader that goes forward. */
struct zp_stream {
        uint32_t next_frame;
        uint32_t window, fetched_end; /* frames; 0: it has not had to wait yet */
        uint64_t used;                /* when, by the device's count of reads */
};

/* A line about reads that failed. */
struct zp_told {
        uint64_t next_ms, untold;
};

struct zp_device {
        struct zp_device_engine *engine;
        struct zp_device *next, **link;
        struct zp_pack_index index;
        void *index_bytes;
        size_t index_size;
        struct zp_digest digest;
        char hex[ZP_SHA256_HEX_SIZE];
        struct zp_device_origin *origins[ZP_DEVICE_ORIGINS];
        unsigned origin_count;
        struct zp_record record; /* fd -1: nothing is kept */
        bool has_record;
        struct zp_slow_file *raw; /* all of it, instead of a record; NULL: none */
        /* guarded by the engine's lock */
        uint32_t fetches, under_way, reads, users; /* users: threads that work on it */
        bool is_closing, wants_all, is_finished;
        uint32_t background_next;
        uint64_t read_count;
        struct zp_stream streams[ZP_STREAMS];
        char cause[ZP_ERROR_MESSAGE_MAX]; /* the last failure of an origin; "": it works */
        struct zp_told told[ZP_READ_FAILURES];
};

struct zp_prefetch {
        struct zp_prefetch *next;
        struct zp_device *device;
        uint32_t frame, end;
};

/* An unpacked frame that is not on the disk, for those who come back for the rest of it. */
struct zp_recent {
        struct zp_recent *next; /* the latest first */
        struct zp_device *device;
        uint32_t frame, size;
        uint8_t *data;
};

/* A frame that reads were given up for. */
struct zp_given_up {
        const struct zp_device *device;
        uint32_t frame;
        unsigned reads;    /* so many, */
        uint64_t until_ms; /* that count until then */
};

struct zp_worker {
        struct zp_pack_decoder *decoder;
        uint8_t *unpacked;
        uint32_t size;
};

struct zp_queue {
        struct zp_fetch *first, *last;
};

struct zp_device_engine {
        struct zp_device_options options;
        uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE];
        struct zp_pool *pool;
        struct zp_worker *workers;
        pthread_mutex_t lock;
        pthread_cond_t timer_wake, keeper_wake, device_free;
        pthread_t timer, keeper;
        bool has_timer, has_keeper;
        /* guarded by lock */
        bool is_ending;
        struct zp_device *devices;
        struct zp_device_read *reads; /* that wait */
        struct zp_fetch *buckets[ZP_FETCH_BUCKETS];
        struct zp_queue queues[ZP_DEVICE_URGENCIES];
        uint32_t paused, under_way[ZP_DEVICE_URGENCIES];
        uint64_t memory_used;
        struct zp_prefetch *prefetches, **last_prefetch;
        struct zp_recent *recent;
        uint64_t recent_size;
        uint64_t background_ready_ms; /* not before, after a failure */
        uint64_t background_paid_us;  /* nor before: what was fetched has used up the rate until then */
        unsigned background_failures;
        uint64_t cache_written, cache_full_until_ms; /* since the last look; nothing is kept before */
        bool wants_room;                             /* the disk was full since then */
        bool is_over_limit; /* all copies were in use when it was last looked at; nothing is kept */
        bool must_look;     /* the keeper has something to finish or to count */
        bool is_dirty;      /* it has something to sync */
        bool timer_sleeps;  /* until it is woken */
        uint64_t next_notice_ms, next_look_ms;
        struct zp_given_up given_up[ZP_GIVEN_UP_SLOTS];
        struct zp_device_statistics statistics;
};

/* Something waits for time to pass. Lock held. */
void zp_device_wake_timer(struct zp_device_engine *engine);
void zp_device_notice(struct zp_device_engine *engine, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* queue.c; all with the lock held */
struct zp_fetch *zp_fetch_find(struct zp_device *device, uint32_t frame);
/* The fetch of a frame, made when there is none, made more urgent when it was less so. NULL: out of memory. */
struct zp_fetch *zp_fetch_want(struct zp_device *device, uint32_t frame, enum zp_device_urgency urgency);
void zp_fetch_enqueue(struct zp_fetch *fetch);
/* Waits until `resume_ms`. */
void zp_fetch_pause(struct zp_fetch *fetch, uint64_t resume_ms);
void zp_fetch_drop(struct zp_fetch *fetch);
/* The next that may start now, its memory taken: NULL: none. */
struct zp_fetch *zp_fetch_take(struct zp_device_engine *engine);

/* Cancels or drops the fetches that nobody awaits any more: all of a device, or (NULL) those that were awaited. Gives
 * the lock back meanwhile. */
void zp_fetches_forsake(struct zp_device_engine *engine, struct zp_device *device);

/* device.c: while held, a device is not freed. Lock held. */
void zp_device_hold(struct zp_device *device);
void zp_device_let_go(struct zp_device *device);

/* fetch.c: starts what may start; without the lock. */
void zp_device_pump(struct zp_device_engine *engine);

/* read.c; with the lock held: takes frame off the reads that await it, and puts those that await nothing more on
 * `finished`. `data` is the frame if it is not kept; `result` 0 or why there will be none. */
void zp_reads_settle(struct zp_device *device, uint32_t frame, const uint8_t *data, int result,
                     struct zp_device_read **finished);
/* As above: fails the reads that match: of a device (NULL: any) and past their deadline (0: all). */
void zp_reads_fail(struct zp_device_engine *engine, struct zp_device *device, uint64_t now_ms,
                   struct zp_device_read **finished);
/* The read waits no more. Lock held. */
void zp_read_delist(struct zp_device_read *read);
/* What device->raw said of it, for which it waited; without the lock. */
void zp_read_take_raw(struct zp_device_read *read, int result, const void *bytes);
/* Whether somebody awaits a frame. Lock held. */
bool zp_reads_await(struct zp_device *device, uint32_t frame);
/* Answers them; without the lock. */
void zp_reads_finish(struct zp_device_read *finished);

/* raw.c: a read of device->raw, that zp_raw_start() begins; NULL: out of memory. Lock held. */
struct zp_raw_read *zp_raw_want(struct zp_device_read *read);
/* Without the lock. */
void zp_raw_start(struct zp_raw_read *raw, uint64_t offset, uint32_t size);
/* The read is over: zp_raw_end() follows. Lock held. */
void zp_raw_forsake(struct zp_raw_read *raw);
/* Without the lock. */
void zp_raw_end(struct zp_raw_read *raw);

/* given-up.c; lock held: the frames that a read waited for and that is given up now; until when one that begins now
 * may wait. A first attempt makes one second one, no more: others have all their time. */
void zp_given_up_note(const struct zp_device_read *read, uint64_t now_ms);
uint64_t zp_given_up_deadline(struct zp_device_read *read, uint64_t now_ms);
/* Tells of a read that failed, unless that was told lately; without the lock. */
void zp_given_up_tell(const struct zp_device_read *read);

/* ahead.c; lock held */
/* `has_missed`: the reader has to wait. */
void zp_ahead_note(struct zp_device *device, uint32_t first, uint32_t count, bool has_missed);
/* The next frame to fetch although nobody waits: makes a fetch of it. */
struct zp_fetch *zp_ahead_next(struct zp_device_engine *engine);
void zp_ahead_forget(struct zp_device *device);

/* recent.c; lock held */
const uint8_t *zp_recent_find(struct zp_device *device, uint32_t frame);
void zp_recent_keep(struct zp_device *device, uint32_t frame, uint8_t *data, uint32_t size);
void zp_recent_forget(struct zp_device *device);

/* keeper.c: the thread that syncs, completes, and keeps the directory within its limit. */
void *zp_device_keeper(void *engine);

/* cache.c: bytes on disk; removes the copies used longest ago and in nobody's use until no more than `limit` are left.
 * Returns what is left. */
uint64_t zp_cache_trim(struct zp_device_engine *engine, uint64_t limit);
/* Likewise, until the disk has the room that is left to others: they may have filled it. */
void zp_cache_keep_reserve(struct zp_device_engine *engine);

/* Whether frames may be kept. Lock held. */
static inline bool zp_device_has_room(const struct zp_device_engine *engine) {
        return !engine->is_over_limit && zp_monotonic_ms() >= engine->cache_full_until_ms;
}

static inline bool zp_device_has(const struct zp_device *device, uint32_t frame) {
        return device->has_record && zp_record_has(&device->record, frame);
}

#endif
