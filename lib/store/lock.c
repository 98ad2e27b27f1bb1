/* SPDX-License-Identifier: Apache-2.0
 *
 * Locks are byte ranges of the file `lock`, owned by an open file description: they work between threads
 * as between processes, and the kernel drops them with their holder. A digest's byte is at its first 62
 * bits. One more byte is locked shared by whoever holds a digest and exclusively by prune.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#include "base/bytes.h"
#include "store/store-internal.h"

#define OFFSET_OF_ALL (INT64_C(1) << 62)
#define LONGEST_PAUSE_NS 100000000

struct zp_store_lock {
        int fd;
};

static off_t offset_of(const struct zp_digest *key) {
        uint64_t value;
        memcpy(&value, key->bytes, sizeof value);
        return (off_t) (be64toh(value) >> 2);
}

static int new_lock(struct zp_store *store, struct zp_store_lock **out, struct zp_error *err) {
        if (store->mode != ZP_STORE_WRITE)
                return zp_error_set(err, EROFS, "store '%s': opened for reading only", store->path);
        struct zp_store_lock *lock = malloc(sizeof *lock);
        if (!lock)
                return zp_error_errno(err, ENOMEM, "store '%s'", store->path);
        lock->fd = openat(store->dir_fd, "lock", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
        if (lock->fd < 0) {
                int code = errno;
                free(lock);
                return zp_error_errno(err, code, "store '%s': open 'lock'", store->path);
        }
        *out = lock;
        return 0;
}

/* 1: locked, 0: another has it. */
static int try_range(struct zp_store *store, struct zp_store_lock *lock, short type, off_t offset,
                     struct zp_error *err) {
        struct flock range = { .l_type = type, .l_whence = SEEK_SET, .l_start = offset, .l_len = 1 };
        while (fcntl(lock->fd, F_OFD_SETLK, &range) < 0) {
                if (errno == EAGAIN || errno == EACCES)
                        return 0;
                if (errno != EINTR)
                        return zp_error_errno(err, errno, "store '%s': lock", store->path);
        }
        return 1;
}

struct waiting {
        const struct zp_cancel *cancel;
        void (*tell)(void *context);
        void *context;
};

static int wait_for_range(struct zp_store *store, struct zp_store_lock *lock, short type, off_t offset,
                          struct waiting *waiting, struct zp_error *err) {
        struct timespec pause = { .tv_nsec = 1000000 };
        for (;;) {
                int r = zp_check_cancel(waiting->cancel, err);
                if (r == 0)
                        r = try_range(store, lock, type, offset, err);
                if (r != 0)
                        return r < 0 ? r : 0;
                if (waiting->tell)
                        waiting->tell(waiting->context);
                waiting->tell = NULL;
                nanosleep(&pause, NULL);
                if (pause.tv_nsec < LONGEST_PAUSE_NS)
                        pause.tv_nsec = (long) zp_min_u64((uint64_t) pause.tv_nsec * 2, LONGEST_PAUSE_NS);
        }
}

int zp_store_lock(struct zp_store *store, const struct zp_digest *key, const struct zp_cancel *cancel,
                  void (*tell)(void *context), void *context, struct zp_store_lock **out, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct waiting waiting = { .cancel = cancel, .tell = tell, .context = context };
        int r = new_lock(store, &lock, err);
        if (r == 0)
                r = wait_for_range(store, lock, F_RDLCK, OFFSET_OF_ALL, &waiting, err);
        if (r == 0)
                r = wait_for_range(store, lock, F_WRLCK, offset_of(key), &waiting, err);
        if (r == 0)
                *out = zp_steal(&lock);
        return r;
}

int zp_store_try_lock(struct zp_store *store, const struct zp_digest *key, struct zp_store_lock **out,
                      struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = new_lock(store, &lock, err);
        if (r == 0)
                r = try_range(store, lock, F_WRLCK, offset_of(key), err);
        if (r == 1)
                *out = zp_steal(&lock);
        return r;
}

int zp_store_try_lock_all(struct zp_store *store, struct zp_store_lock **out, struct zp_error *err) {
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = new_lock(store, &lock, err);
        if (r == 0)
                r = try_range(store, lock, F_WRLCK, OFFSET_OF_ALL, err);
        if (r == 1)
                *out = zp_steal(&lock);
        return r;
}

void zp_store_unlock(struct zp_store_lock *lock) {
        if (!lock)
                return;
        close(lock->fd);
        free(lock);
}
