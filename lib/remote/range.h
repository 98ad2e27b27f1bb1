/* SPDX-License-Identifier: Apache-2.0
 *
 * Many ranges of blobs at once, asynchronously: how devices are read while their packs are still far away.
 *
 * One thread sends the requests of all blobs of a reader, as many at a time per server as the options say, over HTTP/2
 * where a server offers it by TLS, else over connections that are kept. Reads of one blob that wait and lie close
 * together travel in one request; those that nobody waits for also when they do not, as several ranges (RFC 9110,
 * 14.1.2), where the server knows that. What is broken, stalled or refused for now is asked for again, from the byte on
 * that is missing, until the read's time is over; a token that has expired is fetched once for all who wait for it;
 * where a registry sends a reader to object storage is remembered until that refuses. What is known of a remote, tokens
 * and all, is kept while blobs of it are open, and of sixteen more. Bytes are NOT checked: the pack's index has their
 * digests.
 */
#ifndef ZP_REMOTE_RANGE_H
#define ZP_REMOTE_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "oci/source.h"

/* Whose turn it is. Demand may use every place at a server, the others an eighth: what nobody waits for shall come in
 * its order, in few requests, and leave the line to what a program waits for. */
enum zp_range_priority { ZP_RANGE_DEMAND, ZP_RANGE_AHEAD, ZP_RANGE_BACKGROUND, ZP_RANGE_PRIORITIES };

struct zp_range_options {
        struct zp_source_options source; /* of every remote (credentials, TLS, cancel, notice); copied. A stall timeout
                                            of 0 means 10 s here: somebody waits */
        unsigned requests_per_server;    /* at a time; 0: 16 */
        unsigned read_timeout_ms;        /* how long a read may take with all that goes wrong; 0: 5 min */
        unsigned coalesce_bytes;         /* no longer request is made of waiting reads; 0: 8 MiB */
        unsigned gap_bytes;              /* so much between two reads is fetched and dropped; 0: 64 KiB */
        unsigned ahead_bytes;            /* what nobody waits for travels so much at a time; 0: 4 MiB */
};

struct zp_range_reader;
int zp_range_reader_new(const struct zp_range_options *options, struct zp_range_reader **out, struct zp_error *err);
/* All blobs have been closed. Not from within a `done`. */
void zp_range_reader_free(struct zp_range_reader *reader);
ZP_DEFINE_AUTO(struct zp_range_reader, zp_range_reader_free);

/* A blob of a remote ("docker://HOST/REPOSITORY", "dir:PATH", "s3://BUCKET/PREFIX"). Talks to no network yet: whether
 * it is there the first read tells. Blobs of one remote share its tokens and connections. Thread-safe, as all below. */
struct zp_range_blob;
int zp_range_blob_open(struct zp_range_reader *reader, const char *remote, const struct zp_descriptor *descriptor,
                       struct zp_range_blob **out, struct zp_error *err);
/* Cancels what is under way: every `done` has returned when this does. Not from within a `done`. */
void zp_range_blob_close(struct zp_range_blob *blob);
ZP_DEFINE_AUTO(struct zp_range_blob, zp_range_blob_close);

/* Called once for each read that was accepted, from a thread of the reader, which everybody else waits for: hands the
 * work on and returns. It may start and cancel reads. `result` is 0 (the buffer is full) or negative, then `err` says
 * why (NULL on success; valid during the call): -ENOENT: no such blob, -EACCES, -ETIMEDOUT: the time is over,
 * -ECANCELED, -EBADMSG: the blob is of another size, -ENOTSUP: the server serves no ranges, else the last failure.
 * After it the buffer is not touched any more. */
typedef void (*zp_range_done)(void *context, int result, const struct zp_error *err);

/* Starts reading `size` (> 0) bytes at `offset` into `buffer`. 0: accepted. Negative, and `done` is never called:
 * -ERANGE past the blob's end, -ENOMEM. */
int zp_range_read(struct zp_range_blob *blob, uint64_t offset, size_t size, void *buffer,
                  enum zp_range_priority priority, zp_range_done done, void *context, struct zp_error *err);
/* For the reads of this blob that were started with this context (NULL: all), and are not done yet. Raising makes them
 * as urgent as `priority` if they were less so. Cancelling makes them end soon with -ECANCELED, unless they end
 * otherwise first. */
void zp_range_raise(struct zp_range_blob *blob, void *context, enum zp_range_priority priority);
void zp_range_cancel(struct zp_range_blob *blob, void *context);

/* Since the reader was made. */
struct zp_range_statistics {
        uint64_t requests;        /* sent, with those that came to nothing */
        uint64_t http2_requests;  /* of them */
        uint64_t connections;     /* opened */
        uint64_t retries;         /* requests that failed and were worth another */
        uint64_t received_bytes;  /* of bodies */
        uint64_t delivered_bytes; /* of reads that were completed */
};
void zp_range_reader_statistics(struct zp_range_reader *reader, struct zp_range_statistics *out);

#endif
