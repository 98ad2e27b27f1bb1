/* SPDX-License-Identifier: Apache-2.0 */
#include "device/slow-file.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/condition.h"
#include "base/file.h"

struct slow_read {
        struct zp_pool_item item;
        struct zp_slow_file *file;
        uint64_t offset;
        uint32_t size;
        void *context;
        /* guarded by the file's lock */
        struct slow_read *next, **link;
        uint64_t began_ms;
        zp_slow_file_done done; /* NULL: it was given up, or its thread answers */
};

struct zp_slow_file {
        int fd;
        struct zp_pool *readers;
        unsigned patience_ms;
        const char *what;
        struct zp_pool_item item; /* of who closes it */
        pthread_mutex_t lock;
        /* guarded by lock */
        unsigned owners;                 /* the user, and each of the reads */
        struct slow_read *first, **last; /* whose thread is not back, the oldest first */
};

static void close_file(void *argument, unsigned worker) {
        struct zp_slow_file *file = argument;
        (void) worker;
        close(file->fd);
        pthread_mutex_destroy(&file->lock);
        free(file);
}

/* Closing can hang as reading can. */
static void let_go(struct zp_slow_file *file) {
        pthread_mutex_lock(&file->lock);
        bool is_last = --file->owners == 0;
        pthread_mutex_unlock(&file->lock);
        if (is_last)
                zp_pool_submit(file->readers, &file->item, close_file, file);
}

static void append(struct zp_slow_file *file, struct slow_read *read) {
        read->link = file->last;
        *file->last = read;
        file->last = &read->next;
        file->owners++;
}

static void take_out(struct slow_read *read) {
        *read->link = read->next;
        *(read->next ? &read->next->link : &read->file->last) = read->link;
}

/* Whether somebody still wants it. */
static bool is_wanted(struct slow_read *read) {
        pthread_mutex_lock(&read->file->lock);
        bool is_wanted = read->done;
        pthread_mutex_unlock(&read->file->lock);
        return is_wanted;
}

static void work(void *argument, unsigned worker) {
        (void) worker;
        struct slow_read *read = argument;
        struct zp_slow_file *file = read->file;
        struct zp_error err = { 0 };
        zp_autofree void *bytes = is_wanted(read) ? malloc(read->size) : NULL;
        int r = bytes ? zp_pread_all(file->fd, bytes, read->size, read->offset, file->what, &err)
                      : zp_error_errno(&err, ENOMEM, "%s", file->what);
        pthread_mutex_lock(&file->lock);
        zp_slow_file_done done = read->done;
        take_out(read);
        pthread_mutex_unlock(&file->lock);
        if (done)
                done(read->context, r, r < 0 ? NULL : bytes, r < 0 ? &err : NULL);
        free(read);
        let_go(file);
}

static void say_hung(const struct zp_slow_file *file, struct zp_error *err) {
        zp_error_set(err, ETIMEDOUT, "%s: its file system does not answer", file->what);
}

/* Lock held. */
static bool is_hung(const struct zp_slow_file *file, uint64_t now_ms) {
        return file->first && now_ms >= file->first->began_ms + file->patience_ms;
}

/* One that hangs already is not asked: then others are. */
void zp_slow_file_read(struct zp_slow_file *file, uint64_t offset, uint32_t size, zp_slow_file_done done,
                       void *context) {
        struct slow_read *read = calloc(1, sizeof *read);
        struct zp_error err = { 0 };
        if (!read) {
                done(context, zp_error_errno(&err, ENOMEM, "%s", file->what), NULL, &err);
                return;
        }
        *read = (struct slow_read){ .file = file, .offset = offset, .size = size, .context = context, .done = done };
        read->began_ms = zp_monotonic_ms();
        pthread_mutex_lock(&file->lock);
        bool is_asked = !is_hung(file, read->began_ms);
        if (is_asked)
                append(file, read);
        pthread_mutex_unlock(&file->lock);
        if (is_asked) {
                zp_pool_submit(file->readers, &read->item, work, read);
                return;
        }
        free(read);
        say_hung(file, &err);
        done(context, -ETIMEDOUT, NULL, &err);
}

/* Which reads are to end. Lock held. */
struct selection {
        bool (*is_meant)(const void *context, const void *argument); /* NULL: those begun no later than then */
        const void *argument;
        uint64_t began_ms;
};

static bool is_selected(const struct selection *selection, const struct slow_read *read) {
        return read->done && (selection->is_meant ? selection->is_meant(read->context, selection->argument)
                                                  : read->began_ms <= selection->began_ms);
}

static void give_up(struct zp_slow_file *file, const struct selection *selection, int result,
                    const struct zp_error *err) {
        for (;;) {
                pthread_mutex_lock(&file->lock);
                struct slow_read *read = file->first;
                while (read && !is_selected(selection, read))
                        read = read->next;
                zp_slow_file_done done = read ? zp_steal(&read->done) : NULL;
                void *told = read ? read->context : NULL;
                pthread_mutex_unlock(&file->lock);
                if (!done)
                        return;
                done(told, result, NULL, err);
        }
}

void zp_slow_file_cancel(struct zp_slow_file *file, bool (*is_meant)(const void *context, const void *argument),
                         const void *argument) {
        give_up(file, &(struct selection){ .is_meant = is_meant, .argument = argument }, -ECANCELED, NULL);
}

/* Those who have waited long go to others as well. */
void zp_slow_file_look(struct zp_slow_file *file, uint64_t now_ms) {
        struct zp_error err = { 0 };
        if (now_ms < file->patience_ms)
                return;
        say_hung(file, &err);
        give_up(file, &(struct selection){ .began_ms = now_ms - file->patience_ms }, -ETIMEDOUT, &err);
}

void zp_slow_file_close(struct zp_slow_file *file) {
        let_go(file);
}

int zp_slow_file_new(int fd, struct zp_pool *readers, unsigned patience_ms, const char *what, struct zp_slow_file **out,
                     struct zp_error *err) {
        zp_autoclose int owned = fd;
        struct zp_slow_file *file = calloc(1, sizeof *file);
        if (!file)
                return zp_error_errno(err, ENOMEM, "%s", what);
        *file = (struct zp_slow_file){
                .fd = zp_steal_fd(&owned), .readers = readers, .patience_ms = patience_ms, .what = what, .owners = 1
        };
        file->last = &file->first;
        pthread_mutex_init(&file->lock, NULL);
        *out = file;
        return 0;
}
