/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of devices that were asked for, and where their files are.
 */
#ifndef SNAP_DATA_INTERNAL_H
#define SNAP_DATA_INTERNAL_H

#include <pthread.h>

#include "base/condition.h"
#include "base/prometheus.h"
#include "blockfs/blockfs.h"
#include "snapshotter/data/data.h"
#include "snapshotter/data/preload.h"

/* The data plane of this process. */
struct snap_data {
        const struct snap_data_options *options;
        struct zp_device_engine *engine;
        struct zp_range_reader *reader;
        struct snap_preloads *preloads; /* NULL: none */
        struct snap_table *table;
        struct zp_histogram read_times;
        struct snap_completer *completer;
        struct snap_disks *disks;
        struct snap_starts *starts; /* NULL: nobody wants to know */
};

/* files.c: what the store and the preloads have of a device. */
struct snap_files {
        char *index;
        size_t index_size;
        uint64_t device_size;                       /* as the index says, if it can be read */
        int raw_fd, pack_fd;                        /* -1: none; raw: of the device's size */
        struct zp_pool *raw_readers, *pack_readers; /* the preload's that has them; NULL: they are the store's */
        const char *pack_store;                     /* the directory of the store or preload that has it */
        bool is_pack_at_hand;
        bool is_partial; /* a preload did not answer, which may have more */
};
/* -ENOENT: nobody has its index; -ETIMEDOUT: a preload does not answer that may have it. */
int snap_files_find(const struct snap_data *data, const struct zp_digest *device, struct snap_files *out,
                    struct zp_error *err);
void snap_files_clear(struct snap_files *files);
/* The device whose digest begins with the number's eight bytes; -ENOENT: none, -EEXIST: more than one, -ETIMEDOUT:
 * none, unless it is in a preload that does not answer. */
int snap_files_resolve(const struct snap_data *data, uint64_t id, struct zp_digest *out, struct zp_error *err);

/* The number of a device: the first eight bytes of its digest. */
uint64_t snap_device_id(const struct zp_digest *device);

/* open.c: where a device's pack can be fetched, as the store's database said last. Zeroed: nobody has asked. */
struct snap_remote {
        char *name; /* NULL: nothing is known */
        struct zp_descriptor pack;
};
void snap_remote_clear(struct snap_remote *remote);
/* open.c: a device with all its origins. `remote` is brought up to date; when the database cannot be asked, it counts.
 */
int snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct snap_remote *remote,
                     struct zp_device **out, struct zp_error *err);

/* table.c: devices by number; opened when they are needed, closed when nobody has read them for a while. */
struct snap_entry;
int snap_table_new(struct snap_data *data, struct snap_table **out, struct zp_error *err);
/* Closes all; nobody uses any. */
void snap_table_free(struct snap_table *table);
/* One who waits for a device to be open. */
struct snap_wait {
        /* Once, from any thread, perhaps before snap_table_want() returns. The entry's device is open until it is let
         * go. Else `result` says why not: -ENOENT, -EEXIST, -EBADMSG, -ENOMEM, or -EIO when it could not be opened
         * until a read has to be answered (device.deadline_ms), which the table tells; what fails for a while is tried
         * again until then. */
        void (*done)(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err);
        bool comes_again; /* once, at once, when it was given up: the second time is a short one. As the kernel reads */
        uint64_t began_ms;
        bool is_second; /* it came again: set by snap_table_want() */
        /* the rest is the table's */
        struct snap_wait *next;
        uint64_t deadline_ms;
};
/* Wants the device open; nothing is waited for here. `digest`: when the caller knows it; NULL: it is looked for. */
void snap_table_want(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_wait *wait);
/* The same, for who waits. */
int snap_table_get(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_entry **out,
                   struct zp_error *err);
void snap_table_let_go(struct snap_entry *entry);
struct zp_device *snap_entry_device(struct snap_entry *entry);
/* The size of a device that was open before, without opening it again. */
bool snap_table_size(struct snap_table *table, uint64_t id, uint64_t *size);

/* prefetch.c: has what an image (64 hex digits; others are nobody's) needs to start fetched, and what it reads noted.
 * Waits for no device: those that are not open yet are opened meanwhile, and what cannot be is left out. */
void snap_data_start(struct snap_data *data, const char *hex);
/* Before it starts: nothing is noted, and only what there is room for is fetched, of the first
 * SNAP_DATA_FIRST_SIZE bytes or of the rest. */
void snap_data_expect(struct snap_data *data, const char *hex, bool is_rest);
/* For the administrator. */
void snap_data_notice(const struct snap_data *data, const char *line);

/* complete.c: the thread that has devices fetched to their end, if the lookups name any. */
int snap_completer_new(struct snap_data *data, struct snap_completer **out, struct zp_error *err);
/* Something was mounted. */
void snap_completer_tell(struct snap_completer *completer);
/* Before the table goes. Waits for no device to be opened. */
void snap_completer_free(struct snap_completer *completer);
/* There is a local copy, which is mounted from then on: what is read of it is not seen here. */
bool snap_device_is_whole(const struct snap_data *data, const struct zp_digest *device);
/* So many bytes more may be kept, of devices that are not in use, though nobody waits for them. Looks at the disk. */
uint64_t snap_data_room(const struct snap_data *data);
bool snap_device_is_in_use(const struct snap_data *data, const struct zp_digest *device);

/* starts.c: notes what is read of an announced image's devices for `duration_ms` after the first of those reads, in the
 * file DIRECTORY/HEX, a line a read: the device's number in hex, offset, and size. Before them SNAP_DATA_STARTS_PARTIAL
 * when reads of some of the devices are not seen. All but the first take NULL, and do nothing then. Thread-safe. */
struct snap_starts;
int snap_starts_new(const char *directory, unsigned duration_ms, struct snap_starts **out, struct zp_error *err);
void snap_starts_free(struct snap_starts *starts);
void snap_starts_announce(struct snap_starts *starts, const struct zp_digest *image, const struct zp_digest *devices,
                          size_t device_count, bool is_partial);
void snap_starts_note(struct snap_starts *starts, uint64_t device, uint64_t offset, uint32_t size);

/* disk.c: images as disks. Thread-safe. */
struct snap_disk;
int snap_disks_new(struct snap_data *data, struct snap_disks **out, struct zp_error *err);
void snap_disks_free(struct snap_disks *disks);
/* -ENOENT, perhaps without a message: not the name of a disk, or no such image. */
int snap_disks_lookup(struct snap_disks *disks, const char *name, uint64_t *id, uint64_t *size, struct zp_error *err);
/* The disk of a number, which stays until it is let go; NULL: none. The second one does not look into the store. */
struct snap_disk *snap_disks_find(struct snap_disks *disks, uint64_t id);
struct snap_disk *snap_disks_find_known(struct snap_disks *disks, uint64_t id);
void snap_disks_let_go(struct snap_disks *disks, struct snap_disk *disk);
uint64_t snap_disk_size(const struct snap_disk *disk);
/* Needs the disk no more when it returns. */
void snap_disk_read(struct snap_disks *disks, struct snap_disk *disk, uint64_t offset, uint32_t size,
                    struct zp_blockfs_read *request);

#endif
