/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane: the process that answers the kernel's reads of device files. It holds no state that it could not find
 * again: a device's name leads to its index in the store, and that to everything else.
 *
 * Names in the file system it serves:
 *
 *   <64 hex digits>          the device of that digest
 *   disk-<64 hex digits>     the disk of that image: its metadata and devices end to end
 *   disk-compat-<64 digits>  the same for kernels before 6.4
 *   start-<64 hex digits>    never there, but asking for it (stat) starts the prefetch of that image's start-up ranges,
 *                            and what is read of it is noted
 *   expect-first-<64 digits> likewise, but only of the first SNAP_DATA_FIRST_SIZE bytes, nothing is noted, and no other
 *                            local copy has to go for it
 *   expect-rest-<64 digits>  likewise, of what is behind them
 *   store                    the path of the daemon's store, and a newline
 *   statistics               counters, a line each: name, blanks, number. read_time_N: how many reads took how long
 *                            (struct zp_histogram)
 */
#ifndef SNAP_DATA_H
#define SNAP_DATA_H

#include "device/device.h"
#include "erofs/writer.h"
#include "oci/manifest.h"
#include "remote/range.h"

#define SNAP_DATA_START_PREFIX "start-"
#define SNAP_DATA_EXPECT_FIRST_PREFIX "expect-first-"
#define SNAP_DATA_EXPECT_REST_PREFIX "expect-rest-"
#define SNAP_DATA_FIRST_SIZE (UINT64_C(8) << 20)
/* The first line of a file in start_directory when reads of some of the image's devices were not seen. */
#define SNAP_DATA_STARTS_PARTIAL "partial\n"
#define SNAP_DATA_DISK_PREFIX "disk-"
#define SNAP_DATA_COMPAT_DISK_PREFIX "disk-compat-"
#define SNAP_DATA_STATISTICS "statistics"
#define SNAP_DATA_STORE "store"

/* Tells of one range of a device. */
typedef void (*snap_data_range)(void *argument, const struct zp_digest *device, uint64_t offset, uint64_t length);

/* What a disk consists of, in its order. */
struct snap_disk_parts {
        int metadata_fd;
        uint64_t metadata_size;
        struct zp_erofs_device *devices; /* malloc'ed */
        uint16_t device_count;
};

/* What the store's database says. Any thread; each may be NULL: nothing is known. */
struct snap_data_lookups {
        /* Where the pack of a device can be fetched: *remote malloc'ed, *pack to be cleared by the caller. -ENOENT. */
        int (*find_remote)(void *context, const struct zp_digest *device, char **remote, struct zp_descriptor *pack,
                           struct zp_error *err);
        /* The start-up ranges of an image, in their order; -ENOENT: none. */
        int (*find_ranges)(void *context, const struct zp_digest *image, snap_data_range range, void *argument,
                           struct zp_error *err);
        /* The devices of an image; *out malloc'ed. */
        int (*list_devices)(void *context, const struct zp_digest *image, struct zp_digest **out, size_t *count,
                            struct zp_error *err);
        /* The devices that are to be fetched whole, in the background; *out malloc'ed. */
        int (*list_wanted)(void *context, struct zp_digest **out, size_t *count, struct zp_error *err);
        /* The parts of an image's disk, the caller's also after an error; -ENOENT: no such image. */
        int (*find_disk)(void *context, const struct zp_digest *image, bool is_compat, struct snap_disk_parts *out,
                         struct zp_error *err);
        void *context;
};

struct snap_data_options {
        const char *store; /* directory of the store: devices/HEX/device.idx [device.zst] */
        const char *const
                *preloads;   /* more such, only read: what is there is used without a copy; NULL-terminated or NULL */
        const char *journal; /* as the supervisor says (snap_worker_journal) */
        struct snap_data_lookups lookups;
        struct zp_device_options device; /* cache_fd: the directory of local copies */
        struct zp_range_options range;
        unsigned starts;             /* of the data plane, for the statistics */
        const char *start_directory; /* where it is left what containers read in their first seconds; NULL: nowhere */
        unsigned start_ms;           /* those seconds */
        unsigned threads;            /* that take requests; 0: 2 */
        unsigned idle_ms;            /* a device that nobody read for so long is closed; 0: 30 s */
        unsigned disk_idle_ms;       /* and a disk, when another one is asked for; 0: 5 min */
};

/* Serves `fuse_fd` until the file system is unmounted. The process may be killed at any time. */
int snap_data_run(int fuse_fd, const struct snap_data_options *options, struct zp_error *err);

/* Has the data plane that serves `mount` prefetch what the image needs to start, and note what it reads. Waits for no
 * fetch. */
void snap_data_start_image(const char *mount, const struct zp_digest *image);
/* Has it prefetch the first of that, or the rest, for an image which may be started soon. */
void snap_data_expect_image(const char *mount, const struct zp_digest *image, bool is_rest);

#endif
