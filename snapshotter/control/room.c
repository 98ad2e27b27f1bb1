/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/room.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/buffer.h"
#include "device/cache.h"
#include "snapshotter/control/log.h"
#include "snapshotter/data/store.h"

#define RESERVE "reserve"
/* The records of some dozen snapshots on their way out. */
#define RESERVE_SIZE (1 << 20)
/* So much must be free for the reserve to be made. */
#define RESERVE_FROM (UINT64_C(8) << 20)
/* Where a disk is not full by its own account, but says it is. */
#define LEAST (UINT64_C(4) << 20)

struct snap_room {
        char *root, *copies;
        struct snap_store *store; /* knows what is mounted */
        pthread_mutex_t lock;     /* one makes room, for all */
        atomic_bool has_reserve;
};

int snap_room_new(const char *root, const char *store, struct snap_room **out, struct zp_error *err) {
        zp_auto(snap_room_free) struct snap_room *room = calloc(1, sizeof *room);
        if (!room)
                return zp_error_errno(err, ENOMEM, "room");
        pthread_mutex_init(&room->lock, NULL);
        room->root = zp_format("%s", root);
        room->copies = zp_format("%s/unpacked", store);
        if (!room->root || !room->copies)
                return zp_error_errno(err, ENOMEM, "room");
        int r = snap_store_new(store, NULL, &room->store, err);
        if (r == 0)
                *out = zp_steal(&room);
        return r;
}

void snap_room_free(struct snap_room *room) {
        if (!room)
                return;
        snap_store_free(room->store);
        pthread_mutex_destroy(&room->lock);
        free(room->root);
        free(room->copies);
        free(room);
}

/* ---- making it ---- */

static bool remove_copies(struct snap_room *room) {
        zp_autoclose int fd = open(room->copies, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        uint64_t shortage = fd < 0 ? 0 : zp_cache_shortage(fd);
        unsigned count =
                fd < 0 ? 0
                       : zp_cache_make_room(fd, shortage > LEAST ? shortage : LEAST, snap_store_is_in_use, room->store);
        char text[16];
        snprintf(text, sizeof text, "%u", count);
        if (count)
                snap_log_event(SNAP_LOG_WARN, "the disk is full: local copies of devices have made room", "copies",
                               text, NULL);
        return count > 0;
}

static bool give_up_reserve(struct snap_room *room) {
        zp_autoclose int fd = open(room->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool is_given = fd >= 0 && unlinkat(fd, RESERVE, 0) == 0;
        atomic_store(&room->has_reserve, false);
        snap_log_event(SNAP_LOG_ERROR, is_given ? "the disk is full: the last reserve is used" : "the disk is full",
                       "root", room->root, "hint",
                       "remove images or containers, or what else is on this disk; zeropull status tells what is ours",
                       NULL);
        return is_given;
}

/* In doubt it is: without copies there is nothing to remove. */
static bool is_one_disk(const struct snap_room *room) {
        struct stat root, copies;
        return stat(room->root, &root) < 0 || stat(room->copies, &copies) < 0 || root.st_dev == copies.st_dev;
}

static bool is_full(int result) {
        return result == -ENOSPC || result == -EDQUOT;
}

bool snap_room_make(struct snap_room *room, int result, bool is_last) {
        if (!is_full(result))
                return false;
        pthread_mutex_lock(&room->lock);
        bool is_made = is_one_disk(room) && remove_copies(room);
        if (!is_made || is_last)
                is_made |= give_up_reserve(room);
        pthread_mutex_unlock(&room->lock);
        return is_made;
}

bool snap_room_make_for_store(struct snap_room *room, int result) {
        if (!is_full(result))
                return false;
        pthread_mutex_lock(&room->lock);
        bool is_made = remove_copies(room) || (is_one_disk(room) && give_up_reserve(room));
        pthread_mutex_unlock(&room->lock);
        return is_made;
}

/* ---- the reserve ---- */

static uint64_t free_bytes(const struct snap_room *room) {
        struct statvfs disk;
        return statvfs(room->root, &disk) < 0 ? UINT64_MAX : (uint64_t) disk.f_bavail * disk.f_frsize;
}

/* Its blocks are what counts. */
static bool make_reserve(const struct snap_room *room) {
        zp_autofree char *path = zp_format("%s/" RESERVE, room->root);
        zp_autoclose int fd = path ? open(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600) : -1;
        return fd >= 0 && posix_fallocate(fd, 0, RESERVE_SIZE) == 0;
}

void snap_room_restore(struct snap_room *room) {
        if (atomic_load(&room->has_reserve) || free_bytes(room) < RESERVE_FROM)
                return;
        pthread_mutex_lock(&room->lock);
        if (!atomic_load(&room->has_reserve))
                atomic_store(&room->has_reserve, make_reserve(room));
        pthread_mutex_unlock(&room->lock);
}

void snap_room_prepare(struct snap_room *room) {
        if (free_bytes(room) < RESERVE_SIZE)
                snap_room_make(room, -ENOSPC, false);
        snap_room_restore(room);
}
