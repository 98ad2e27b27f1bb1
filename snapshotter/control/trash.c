/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/trash.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/buffer.h"
#include "base/condition.h"
#include "base/file.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/walk.h"

/* Names in the trash are those of snapshots, each used once, but for a few of failed ones. */
#define NAME_ATTEMPTS 1000
#define POLL_MS 100

struct snap_trash {
        int fd;
        bool is_started;
        pthread_t thread;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        uint64_t wanted; /* passes asked for; guarded by lock */
        uint64_t begun;  /* the pass under way, or the last; guarded by lock */
        uint64_t ended;  /* guarded by lock */
        struct zp_cancel ending;
};

static void empty(struct snap_trash *trash) {
        zp_autoclosedir DIR *dir = zp_open_listing(trash->fd, ".");
        if (!dir) {
                snap_log_event(SNAP_LOG_WARN, "cannot list the trash", "error", strerrordesc_np(errno), NULL);
                return;
        }
        for (struct dirent *entry; !zp_cancelled(&trash->ending) && (entry = zp_next_entry(dir));) {
                struct zp_error err = { 0 };
                if (snap_remove_tree(trash->fd, entry->d_name, &trash->ending, &err) < 0 && err.code != ECANCELED)
                        snap_log_event(SNAP_LOG_WARN, "cannot empty the trash", "name", entry->d_name, "error",
                                       err.message, NULL);
        }
}

static void *work(void *argument) {
        struct snap_trash *trash = argument;
        pthread_mutex_lock(&trash->lock);
        while (!zp_cancelled(&trash->ending)) {
                if (trash->ended == trash->wanted) {
                        pthread_cond_wait(&trash->changed, &trash->lock);
                        continue;
                }
                trash->begun = trash->wanted;
                pthread_mutex_unlock(&trash->lock);
                empty(trash);
                pthread_mutex_lock(&trash->lock);
                trash->ended = trash->begun;
                pthread_cond_broadcast(&trash->changed);
        }
        pthread_mutex_unlock(&trash->lock);
        return NULL;
}

int snap_trash_new(int fd, struct snap_trash **out, struct zp_error *err) {
        zp_auto(snap_trash_free) struct snap_trash *trash = calloc(1, sizeof *trash);
        if (!trash) {
                close(fd);
                return zp_error_errno(err, ENOMEM, "trash");
        }
        trash->fd = fd;
        trash->wanted = 1;
        pthread_mutex_init(&trash->lock, NULL);
        zp_condition_init(&trash->changed);
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&trash->thread, NULL, work, trash);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (code)
                return zp_error_errno(err, code, "start the trash's thread");
        trash->is_started = true;
        *out = zp_steal(&trash);
        return 0;
}

void snap_trash_free(struct snap_trash *trash) {
        if (!trash)
                return;
        pthread_mutex_lock(&trash->lock);
        atomic_store(&trash->ending.requested, true);
        pthread_cond_broadcast(&trash->changed);
        pthread_mutex_unlock(&trash->lock);
        if (trash->is_started)
                pthread_join(trash->thread, NULL);
        pthread_mutex_destroy(&trash->lock);
        pthread_cond_destroy(&trash->changed);
        close(trash->fd);
        free(trash);
}

static uint64_t ask_for_pass(struct snap_trash *trash) {
        pthread_mutex_lock(&trash->lock);
        uint64_t pass = ++trash->wanted;
        pthread_cond_broadcast(&trash->changed);
        pthread_mutex_unlock(&trash->lock);
        return pass;
}

int snap_trash_take(struct snap_trash *trash, int dir_fd, const char *name, struct zp_error *err) {
        for (int attempt = 0; attempt < NAME_ATTEMPTS; attempt++) {
                zp_autofree char *target = zp_format(attempt ? "%s-%d" : "%s", name, attempt);
                if (!target)
                        return zp_error_errno(err, ENOMEM, "trash");
                if (renameat2(dir_fd, name, trash->fd, target, RENAME_NOREPLACE) == 0) {
                        ask_for_pass(trash);
                        return 0;
                }
                if (errno == ENOENT)
                        return 0;
                if (errno != EEXIST)
                        return zp_error_errno(err, errno, "move '%s' to the trash", name);
        }
        return zp_error_errno(err, EEXIST, "move '%s' to the trash", name);
}

int snap_trash_drain(struct snap_trash *trash, const struct zp_cancel *cancel, struct zp_error *err) {
        uint64_t pass = ask_for_pass(trash);
        int r = 0;
        pthread_mutex_lock(&trash->lock);
        while (trash->ended < pass && !zp_cancelled(&trash->ending) && (r = zp_check_cancel(cancel, err)) == 0)
                zp_condition_wait_until(&trash->changed, &trash->lock, zp_monotonic_ms() + POLL_MS);
        pthread_mutex_unlock(&trash->lock);
        return r;
}
