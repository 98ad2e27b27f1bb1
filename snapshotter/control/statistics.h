/* SPDX-License-Identifier: Apache-2.0
 *
 * What the data plane has counted, asked for without ever waiting for it longer than one wants: a read of its files may
 * wait as long as nobody serves them, and cannot always be given up by who reads.
 */
#ifndef SNAP_STATISTICS_H
#define SNAP_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* Zeroed before its first use; one thread at a time. */
struct snap_statistics_asker {
        pid_t child; /* waits for an answer; killed, and not gone yet. 0: none */
};

#define SNAP_STATISTICS_MAX 64
struct snap_statistics {
        size_t count;
        struct {
                char name[32];
                uint64_t value;
        } items[SNAP_STATISTICS_MAX];
};

/* Reads the `statistics` file below `devices`, the data plane's mount: -ENOENT when nothing is mounted there,
 * -ETIMEDOUT when the data plane does not answer, -EBADMSG for what is no such file. */
int snap_statistics_ask(struct snap_statistics_asker *asker, const char *devices, unsigned timeout_ms,
                        struct snap_statistics *out, struct zp_error *err);
/* 0 for a name that is not there. */
uint64_t snap_statistics_get(const struct snap_statistics *statistics, const char *name);

/* The disk space that local copies of devices take in a store, and their number. */
struct snap_cache_use {
        uint64_t bytes, copies, complete;
};
int snap_cache_use(const char *store, struct snap_cache_use *out, struct zp_error *err);

#endif
