/* SPDX-License-Identifier: Apache-2.0
 *
 * The file system of devices: from the kernel's requests to devices and back.
 */
#include "snapshotter/data/data-internal.h"

#include <fcntl.h>
#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/cleanup.h"

#define DEFAULT_THREADS 2
/* Numbers that are no device's: 1 is the root's. A device whose digest begins so is not served. */
#define STATISTICS_ID 2
#define STORE_ID 3
#define FIRST_DEVICE_ID 16
#define STATISTICS_SIZE 4096
/* A file system over a network that does not answer in this time hangs. */
#define PRELOAD_PATIENCE_MS 3000
#define PRELOAD_PAUSE_MS 30000

struct served_read {
        struct zp_device_read read; /* first: what the device gives back */
        struct snap_wait wait;
        struct zp_blockfs_read *request;
        struct snap_entry *entry;
        struct snap_data *data;
        uint64_t id;
        uint64_t began_us;
};

static uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* What the reader is told when a device cannot be had. */
static int code_of(int result) {
        return result == -ENOENT || result == -ENOMEM ? -result : EIO;
}

static int lookup_disk(struct snap_data *data, const char *name, uint64_t *id, uint64_t *size) {
        struct zp_error err = { 0 };
        int r = snap_disks_lookup(data->disks, name, id, size, &err);
        if (r < 0 && r != -ENOENT)
                snap_data_notice(data, err.message);
        return r < 0 ? -code_of(r) : 0;
}

static int lookup(void *context, const char *name, uint64_t *id, uint64_t *size) {
        struct snap_data *data = context;
        struct zp_digest digest;
        struct zp_error err = { 0 };
        if (strncmp(name, SNAP_DATA_START_PREFIX, strlen(SNAP_DATA_START_PREFIX)) == 0)
                snap_data_start(data, name + strlen(SNAP_DATA_START_PREFIX));
        if (strncmp(name, SNAP_DATA_EXPECT_FIRST_PREFIX, strlen(SNAP_DATA_EXPECT_FIRST_PREFIX)) == 0)
                snap_data_expect(data, name + strlen(SNAP_DATA_EXPECT_FIRST_PREFIX), false);
        if (strncmp(name, SNAP_DATA_EXPECT_REST_PREFIX, strlen(SNAP_DATA_EXPECT_REST_PREFIX)) == 0)
                snap_data_expect(data, name + strlen(SNAP_DATA_EXPECT_REST_PREFIX), true);
        if (strcmp(name, SNAP_DATA_STATISTICS) == 0) {
                *id = STATISTICS_ID;
                *size = STATISTICS_SIZE;
                return 0;
        }
        if (strcmp(name, SNAP_DATA_STORE) == 0) {
                *id = STORE_ID;
                *size = strlen(data->options->store) + 1;
                return 0;
        }
        if (strncmp(name, SNAP_DATA_DISK_PREFIX, strlen(SNAP_DATA_DISK_PREFIX)) == 0)
                return lookup_disk(data, name, id, size);
        if (!zp_digest_parse_hex(name, &digest))
                return -ENOENT;
        *id = snap_device_id(&digest);
        struct snap_entry *entry;
        int r = *id < FIRST_DEVICE_ID ? -ENOENT : snap_table_get(data->table, *id, &digest, &entry, &err);
        if (r < 0) {
                if (r != -ENOENT && r != -EIO)
                        snap_data_notice(data, err.message);
                return -code_of(r);
        }
        *size = zp_device_size(snap_entry_device(entry));
        snap_table_let_go(entry);
        snap_completer_tell(data->completer);
        return 0;
}

static int find_size(void *context, uint64_t id, uint64_t *size) {
        struct snap_data *data = context;
        struct snap_entry *entry;
        struct zp_error err = { 0 };
        *size = id == STORE_ID ? strlen(data->options->store) + 1 : STATISTICS_SIZE;
        if (id == STATISTICS_ID || id == STORE_ID || snap_table_size(data->table, id, size))
                return 0;
        int r = snap_table_get(data->table, id, NULL, &entry, &err);
        struct snap_disk *disk = r == -ENOENT ? snap_disks_find(data->disks, id) : NULL;
        if (disk) {
                *size = snap_disk_size(disk);
                snap_disks_let_go(data->disks, disk);
                return 0;
        }
        if (r < 0) {
                if (r != -EIO)
                        snap_data_notice(data, err.message);
                return -code_of(r);
        }
        *size = zp_device_size(snap_entry_device(entry));
        snap_table_let_go(entry);
        return 0;
}

static void answer(struct zp_device_read *read, int result, int fd, const void *bytes) {
        struct served_read *served = (struct served_read *) read;
        if (result < 0)
                zp_blockfs_answer_error(served->request, -result);
        else if (bytes)
                zp_blockfs_answer_data(served->request, bytes, read->size);
        else
                zp_blockfs_answer_file(served->request, fd, read->offset, read->size);
        struct snap_entry *entry = served->entry;
        zp_histogram_add(&served->data->read_times, now_us() - served->began_us);
        free(served);
        snap_table_let_go(entry);
}

static void answer_text(const char *text, size_t length, uint64_t offset, uint32_t size,
                        struct zp_blockfs_read *request) {
        size_t left = offset < length ? length - offset : 0;
        zp_blockfs_answer_data(request, text + (left ? offset : 0), left < size ? left : size);
}

static void answer_statistics(struct snap_data *data, uint64_t offset, uint32_t size, struct zp_blockfs_read *request) {
        struct zp_device_statistics devices;
        struct zp_range_statistics ranges;
        zp_device_engine_statistics(data->engine, &devices);
        zp_range_reader_statistics(data->reader, &ranges);
        const struct {
                const char *name;
                uint64_t value;
        } counters[] = {
                { "reads", devices.reads },
                { "waited_reads", devices.waited_reads },
                { "failed_reads", devices.failed_reads },
                { "fetched_frames", devices.fetched_frames },
                { "fetched_bytes", devices.fetched_bytes },
                { "ahead_frames", devices.ahead_frames },
                { "wrong_frames", devices.wrong_frames },
                { "failed_fetches", devices.failed_fetches },
                { "unkept_frames", devices.unkept_frames },
                { "evicted_copies", devices.evicted_copies },
                { "requests", ranges.requests },
                { "connections", ranges.connections },
                { "retries", ranges.retries },
                { "received_bytes", ranges.received_bytes },
                { "starts", data->options->starts },
                { "read_us", atomic_load(&data->read_times.sum_us) },
        };
        char text[STATISTICS_SIZE]; /* always of the same length: a reader comes more than once */
        size_t used = 0;
        for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++)
                used += (size_t) snprintf(text + used, sizeof text - used, "%s %20llu\n", counters[i].name,
                                          (unsigned long long) counters[i].value);
        for (unsigned i = 0; i <= ZP_HISTOGRAM_BOUNDS; i++)
                used += (size_t) snprintf(text + used, sizeof text - used, "read_time_%u %20llu\n", i,
                                          atomic_load(&data->read_times.counts[i]));
        answer_text(text, used, offset, size, request);
}

static void answer_store(struct snap_data *data, uint64_t offset, uint32_t size, struct zp_blockfs_read *request) {
        zp_autofree char *text = zp_format("%s\n", data->options->store);
        if (text)
                answer_text(text, strlen(text), offset, size, request);
        else
                zp_blockfs_answer_error(request, ENOMEM);
}

/* Its number may be a disk's, of which another process has told the kernel. */
static void fail(struct served_read *served, int result, const struct zp_error *err) {
        struct snap_data *data = served->data;
        struct snap_disk *disk = result == -ENOENT ? snap_disks_find(data->disks, served->id) : NULL;
        if (disk) {
                snap_disk_read(data->disks, disk, served->read.offset, served->read.size, served->request);
                snap_disks_let_go(data->disks, disk);
        } else {
                if (result != -EIO)
                        snap_data_notice(data, err->message);
                zp_blockfs_answer_error(served->request, result == -ENOMEM ? ENOMEM : EIO);
        }
        free(served);
}

static void go_on(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err) {
        struct served_read *served = (struct served_read *) ((char *) wait - offsetof(struct served_read, wait));
        if (result < 0) {
                fail(served, result, err);
                return;
        }
        served->entry = entry;
        served->read.waited_ms = (uint32_t) (zp_monotonic_ms() - wait->began_ms);
        served->read.is_second = wait->is_second;
        snap_starts_note(served->data->starts, served->id, served->read.offset, served->read.size);
        zp_device_read(snap_entry_device(entry), &served->read);
}

static void start_read(void *context, uint64_t id, uint64_t offset, uint32_t size, struct zp_blockfs_read *request) {
        struct snap_data *data = context;
        if (id == STATISTICS_ID) {
                answer_statistics(data, offset, size, request);
                return;
        }
        if (id == STORE_ID) {
                answer_store(data, offset, size, request);
                return;
        }
        struct snap_disk *disk = snap_disks_find_known(data->disks, id);
        if (disk) {
                snap_disk_read(data->disks, disk, offset, size, request);
                snap_disks_let_go(data->disks, disk);
                return;
        }
        struct served_read *served = calloc(1, sizeof *served);
        if (!served) {
                zp_blockfs_answer_error(request, ENOMEM);
                return;
        }
        *served = (struct served_read){ .read = { .offset = offset, .size = size, .done = answer },
                                        .wait = { .done = go_on, .comes_again = true },
                                        .request = request,
                                        .data = data,
                                        .id = id,
                                        .began_us = now_us() };
        snap_table_want(data->table, id, NULL, &served->wait);
}

static const struct zp_blockfs_ops ops = { .lookup = lookup, .find_size = find_size, .read = start_read };

/* Frames come and go all the time, so their memory is not asked of the kernel each time; but what is free in the end
 * shall be the machine's again. */
static void keep_memory_small(void) {
        mallopt(M_MMAP_THRESHOLD, 1 << 20);
        mallopt(M_TRIM_THRESHOLD, 1 << 20);
        mallopt(M_ARENA_MAX, 2);
}

/* Each open device takes a few, whatever those who started us find enough. */
static void raise_descriptor_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
                limit.rlim_cur = limit.rlim_max;
                setrlimit(RLIMIT_NOFILE, &limit);
        }
}

/* The range reader gives up a little before the device does, which then knows why. */
static struct zp_range_options range_options(const struct snap_data_options *options) {
        struct zp_range_options range = options->range;
        if (!range.read_timeout_ms)
                range.read_timeout_ms =
                        (options->device.deadline_ms ? options->device.deadline_ms : ZP_DEVICE_DEADLINE_MS) / 10 * 9;
        return range;
}

/* Reads do not depend on it: on a full disk they go on without. */
static void note_starts(struct snap_data *data) {
        struct zp_error err = { 0 };
        if (snap_starts_new(data->options->start_directory, data->options->start_ms, &data->starts, &err) < 0)
                snap_data_notice(data, err.message);
}

int snap_data_run(int fuse_fd, const struct snap_data_options *options, struct zp_error *err) {
        struct snap_data data = { .options = options };
        struct zp_range_options range = range_options(options);
        const struct snap_preloads_options preloads = { options->preloads, PRELOAD_PATIENCE_MS, PRELOAD_PAUSE_MS,
                                                        options->device.notice, options->device.context };
        keep_memory_small();
        raise_descriptor_limit();
        int r = zp_device_engine_new(&options->device, &data.engine, err);
        if (r == 0)
                r = zp_range_reader_new(&range, &data.reader, err);
        if (r == 0)
                r = snap_preloads_new(&preloads, &data.preloads, err);
        if (r == 0)
                r = snap_table_new(&data, &data.table, err);
        if (r == 0)
                r = snap_disks_new(&data, &data.disks, err);
        if (r == 0)
                r = snap_completer_new(&data, &data.completer, err);
        if (r == 0 && options->start_directory)
                note_starts(&data);
        if (r == 0)
                r = zp_blockfs_serve(fuse_fd, options->journal, options->threads ? options->threads : DEFAULT_THREADS,
                                     &ops, &data, err);
        snap_starts_free(data.starts);
        snap_completer_free(data.completer);
        snap_table_free(data.table);
        snap_preloads_free(data.preloads);
        snap_disks_free(data.disks);
        if (data.reader)
                zp_range_reader_free(data.reader);
        zp_device_engine_free(data.engine);
        return r;
}

static void ask_for(const char *mount, const char *prefix, const struct zp_digest *image) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct stat st;
        zp_autofree char *path = zp_format("%s/%s%s", mount, prefix, zp_digest_hex(image, hex));
        if (path && stat(path, &st) == 0)
                return; /* it is never there: the question is the message */
}

void snap_data_start_image(const char *mount, const struct zp_digest *image) {
        ask_for(mount, SNAP_DATA_START_PREFIX, image);
}

void snap_data_expect_image(const char *mount, const struct zp_digest *image, bool is_rest) {
        ask_for(mount, is_rest ? SNAP_DATA_EXPECT_REST_PREFIX : SNAP_DATA_EXPECT_FIRST_PREFIX, image);
}
