/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share.
 */
#ifndef SNAP_MOUNTS_INTERNAL_H
#define SNAP_MOUNTS_INTERNAL_H

#include <pthread.h>

#include "base/pool.h"
#include "snapshotter/mounts/announce.h"
#include "snapshotter/mounts/mounts.h"

#define SNAP_BASE_FILE_SIZE 32
/* So many unmounts may hang before others wait for them, though nobody waits for these. */
#define SNAP_DROPPERS 4

/* A device of a base that had no complete local copy when it was looked for, and the metadata that named it: an image
 * can be replaced in the store while it is mounted. */
struct snap_missing {
        uint64_t base_id; /* 0: none */
        struct zp_digest device;
        dev_t dev;
        ino_t inode;
        struct timespec changed;
};
#define SNAP_MISSING_MAX 64

/* A base that is being mounted or dropped, by one at a time. */
struct snap_base_use {
        struct snap_base_use *next;
        struct snap_mounts *mounts;
        struct zp_pool_item item; /* of who drops it */
        uint64_t id;
        unsigned users; /* who does it, and who waits for that */
        bool is_busy, is_unwanted, is_dropping;
};

struct snap_mounts {
        char *root, *devices;             /* devices may be NULL */
        struct snap_announcer *announcer; /* there are devices */
        struct zp_store *store;
        int mounts_fd, bases_fd;
        struct zp_pool *droppers;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        struct snap_base_use *uses;
        bool is_hanging;    /* an unmount was given up waiting for, and none has ended since */
        bool keeps_devices; /* the kernel cannot replace mounts */
        struct snap_missing missing[SNAP_MISSING_MAX]; /* by base_id, of some bases */
};

/* uses.c: waits until nobody else is at the base; NULL: out of memory. The last one who ends has it dropped when that
 * is wanted by then. */
struct snap_base_use *snap_use_begin(struct snap_mounts *mounts, uint64_t id, struct zp_error *err);
void snap_use_end(struct snap_mounts *mounts, struct snap_base_use *use);

/* mounts.c: unmounts a base and removes what it needed, however long that takes. */
void snap_base_drop(struct snap_mounts *mounts, uint64_t id);

/* metadata.c: opens the metadata of a base, which is made when it is not there yet: the image's own when it is all of
 * its layers, else what a merge of the first ones gives. *source (malloc'ed) is what the mount's source shall be. */
int snap_base_metadata(struct snap_mounts *mounts, const struct snap_base *base, const struct zp_cancel *cancel,
                       char **source, struct zp_error *err);
/* The same when it is there, without a question to the store's database; else a negative errno. */
int snap_base_metadata_there(struct snap_mounts *mounts, const struct snap_base *base);
char *snap_base_file(uint64_t id, char name[SNAP_BASE_FILE_SIZE]);
/* Removes what was made, also when it was not finished; whether there was something finished. */
bool snap_base_remove(struct snap_mounts *mounts, uint64_t id);

/* devices.c: open a device that EROFS is to read its data from: the one place that knows where devices are. A complete
 * local copy, -ENOENT without a message: there is none; */
int snap_plain_device(struct snap_mounts *mounts, const struct zp_digest *device, struct zp_error *err);
/* and the data plane's file. */
int snap_served_device(struct snap_mounts *mounts, const struct zp_digest *device, struct zp_error *err);
/* Whether a base is known to have a device without a complete local copy: two looks say what else takes reading the
 * base's metadata and the store's database, each time a container starts. */
bool snap_misses_device(struct snap_mounts *mounts, const struct snap_base *base);
void snap_note_missing(struct snap_mounts *mounts, uint64_t base_id, int meta_fd, const struct zp_digest *device);

#endif
