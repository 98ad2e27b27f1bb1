/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that is partly here: its index, the frames that were read so far in a sparse local file, and origins for the
 * rest. A read of what is here costs a look at a bit; another one waits for its frames, each of which is fetched once
 * however many wait, checked against the index and kept. Sequential readers find the next frames fetched before they
 * come. docs/node.md tells how failures are met.
 */
#ifndef ZP_DEVICE_DEVICE_H
#define ZP_DEVICE_DEVICE_H

#include "base/digest.h"
#include "device/origin.h"

/* The longest read. */
#define ZP_DEVICE_READ_MAX (UINT32_C(1) << 20)
#define ZP_DEVICE_ORIGINS 4
#define ZP_DEVICE_DEADLINE_MS 60000u

/* Why a read fails; it is told as a notice, with what to do, once a minute for each device and reason. */
enum zp_read_failure { ZP_READ_LATE, ZP_READ_WRONG, ZP_READ_LOCAL, ZP_READ_NO_MEMORY, ZP_READ_FAILURES };

/* What all devices of a process share: worker threads, memory, the directory of local copies. */
struct zp_device_engine;

struct zp_device_options {
        int cache_fd;                    /* directory of the local copies, the caller's; -1: nothing is kept */
        uint64_t cache_limit;            /* bytes of disk they may take; 0: no limit */
        uint64_t memory_limit;           /* bytes of packed frames under way; 0: 32 MiB. The same again for a frame of
                                            each device that is read and has none under way, and for frames that cannot
                                            be kept on disk */
        unsigned threads;                /* that check and decompress; 0: as many as there are CPUs to use */
        unsigned deadline_ms;            /* after which a program's read fails with EIO, though the kernel tries
                                            twice; 0: ZP_DEVICE_DEADLINE_MS */
        unsigned retry_ms;               /* the first pause after a failure; doubled each time up to 5 s; 0: 100 ms */
        uint64_t background_bytes_per_s; /* for zp_device_complete(); 0: no limit */
        /* Whether a device is in use elsewhere (mounted), so that its copy stays. NULL: none is. The keeper's thread.
         */
        bool (*is_in_use)(void *context, const char *hex);
        /* Something an administrator should know; one line. Any thread. May be NULL. */
        void (*notice)(void *context, const char *line);
        void *context;
};

int zp_device_engine_new(const struct zp_device_options *options, struct zp_device_engine **out, struct zp_error *err);
/* All devices are closed. What is unsynced is synced. */
void zp_device_engine_free(struct zp_device_engine *engine);
ZP_DEFINE_AUTO(struct zp_device_engine, zp_device_engine_free);

struct zp_device_statistics {
        uint64_t reads, waited_reads, failed_reads; /* waited: at least one frame was not here */
        uint64_t fetched_frames, fetched_bytes;     /* that turned out to be right; packed */
        uint64_t ahead_frames;                      /* of them: nobody waited when they were asked for */
        uint64_t wrong_frames;                      /* other bytes than the index says */
        uint64_t failed_fetches;                    /* other failures */
        uint64_t unkept_frames;                     /* not kept on disk: no room, no directory, or an origin at hand */
        uint64_t evicted_copies;                    /* removed to make room */
};
void zp_device_engine_statistics(struct zp_device_engine *engine, struct zp_device_statistics *out);

struct zp_device;

struct zp_device_description {
        struct zp_digest digest; /* names the device: the digest of the index */
        const void *index;       /* copied */
        size_t index_size;
        int raw_fd;                  /* all of the device, of its size, and right as far as anybody knows; -1: none */
        struct zp_pool *raw_readers; /* who read that, on a file system that may hang; NULL: whoever asks */
        unsigned raw_patience_ms;    /* with such a file, until the origins are asked, if there are any */
        struct zp_device_origin *origins[ZP_DEVICE_ORIGINS]; /* asked in this order */
        unsigned origin_count;
};

/* raw_fd and the origins become the device's, also in case of an error. -EBADMSG: the index is malformed or not the one
 * of this digest. When the local copy cannot be used, the device works without one, with a notice. */
int zp_device_open(struct zp_device_engine *engine, const struct zp_device_description *description,
                   struct zp_device **out, struct zp_error *err);
/* Reads under way fail with EIO; waits until the origins have let go. */
void zp_device_close(struct zp_device *device);
ZP_DEFINE_AUTO(struct zp_device, zp_device_close);

uint64_t zp_device_size(const struct zp_device *device);
/* Nothing is under way. */
bool zp_device_is_idle(struct zp_device *device);
/* All of it is here. */
bool zp_device_is_complete(const struct zp_device *device);

struct zp_device_read {
        uint64_t offset;
        uint32_t size; /* at most ZP_DEVICE_READ_MAX; shortened to what is before the device's end */
        /* Once, from any thread, perhaps before zp_device_read() returns; the read may be freed. `result` is 0, then
         * the bytes are in `data`, or when that is NULL in `fd` at `offset`, both valid during the call; or a negative
         * errno: -EIO for all that could not be helped before the deadline. */
        void (*done)(struct zp_device_read *read, int result, int fd, const void *data);
        uint32_t waited_ms; /* before it came here: it is answered so much earlier */
        bool is_second;     /* it is known to be the kernel's second attempt, of which nothing is remembered; the engine
                               finds others */
        /* the rest is the engine's */
        struct zp_device *device;
        struct zp_device_read *next, **link;
        struct zp_raw_read *raw; /* NULL: it waits for frames, if for anything */
        uint64_t waiting[5];     /* frames, from the first on, that are awaited: 1 MiB touches 257 of 4 KiB */
        uint64_t filled[5];      /* likewise, of which the buffer has its part */
        uint32_t first_frame, frame_count, waiting_count;
        uint64_t deadline_ms;
        uint8_t *buffer; /* for frames that are not kept */
        int result;
        enum zp_read_failure failure;
};
void zp_device_read(struct zp_device *device, struct zp_device_read *read);

/* Fetches a range before anybody asks for it, after what readers wait for. Frames that fail are left out. */
void zp_device_prefetch(struct zp_device *device, uint64_t offset, uint64_t size);
/* Fetches all that is missing, slowly, when nobody waits for anything; until that is no longer wanted. */
void zp_device_complete(struct zp_device *device);
void zp_device_complete_no_more(struct zp_device *device);
/* Frames that zp_device_complete() has yet to fetch; 0 also for a device that no local copy is kept of. */
uint32_t zp_device_missing_frames(const struct zp_device *device);

/* The local copy of a device in a cache directory if it is complete, for mounting it without anybody between; marked as
 * used now. The caller's descriptor; -ENOENT without a message when there is none. */
int zp_device_open_complete(int cache_fd, const struct zp_digest *digest, uint64_t device_size, struct zp_error *err);

#endif
