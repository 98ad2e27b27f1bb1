/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/db.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/file.h"
#include "oci/fetch.h"
#include "registry-hook/schema.h"

/* Bounds how long the first of a batch waits for the last. */
#define BATCH_MAX 256
#define LOCK_LOOK_MS 20
#define LOCK_PATIENCE_MS 2000
#define BUSY_TIMEOUT_MS 10000

/* A file as it was opened, and where. */
struct place {
        char *path;
        int fd;
};

struct hook_db {
        int lock_fd;
        struct place places[2]; /* hook.db and its write-ahead log, which both must last */
        sqlite3 *writer, *reader;
        pthread_t thread;
        pthread_mutex_t read_lock; /* guards reader */
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct hook_db_job *first, **last; /* guarded by lock, as all below */
        size_t waiting;
        bool has_thread, is_closing;
};

static struct hook_db_job *take_batch(struct hook_db *db) {
        pthread_mutex_lock(&db->lock);
        while (!db->first && !db->is_closing)
                pthread_cond_wait(&db->wake, &db->lock);
        struct hook_db_job *batch = db->first, **end = &batch;
        size_t count = 0;
        for (; *end && count < BATCH_MAX; count++)
                end = &(*end)->next;
        db->first = *end;
        if (!db->first)
                db->last = &db->first;
        *end = NULL;
        db->waiting -= count;
        pthread_mutex_unlock(&db->lock);
        return batch;
}

/* One job within the transaction. Negative: the transaction is no more. */
static int run_job(struct hook_db *db, struct hook_db_job *job, struct zp_error *err) {
        int r = hook_sql_exec(db->writer, "SAVEPOINT job", err);
        if (r < 0)
                return r;
        job->result = job->work(db->writer, job->context, &job->error);
        if (sqlite3_get_autocommit(db->writer)) { /* a full disk or an I/O error took it all back */
                *err = job->error;
                return job->result < 0 ? job->result : zp_error_set(err, EIO, "queue: rolled back");
        }
        if (job->result < 0)
                return hook_sql_exec(db->writer, "ROLLBACK TO job; RELEASE job", err);
        return hook_sql_exec(db->writer, "RELEASE job", err);
}

static int run_batch(struct hook_db *db, struct hook_db_job *batch, struct zp_error *err) {
        int r = hook_sql_exec(db->writer, "BEGIN IMMEDIATE", err);
        for (struct hook_db_job *job = batch; job && r == 0; job = job->next)
                r = run_job(db, job, err);
        if (r == 0)
                r = hook_sql_exec(db->writer, "COMMIT", err);
        if (!sqlite3_get_autocommit(db->writer))
                sqlite3_exec(db->writer, "ROLLBACK", NULL, NULL, NULL);
        return r;
}

static void *write_batches(void *context) {
        struct hook_db *db = context;
        for (struct hook_db_job *batch, *next; (batch = take_batch(db));) {
                struct zp_error err = { 0 };
                int r = run_batch(db, batch, &err);
                for (; batch; batch = next) {
                        next = batch->next;
                        if (r < 0)
                                batch->done(batch->context, r, &err);
                        else
                                batch->done(batch->context, batch->result, &batch->error);
                }
        }
        return NULL;
}

void hook_db_submit(struct hook_db *db, struct hook_db_job *job) {
        job->next = NULL;
        job->result = 0;
        zp_error_clear(&job->error);
        pthread_mutex_lock(&db->lock);
        *db->last = job;
        db->last = &job->next;
        db->waiting++;
        pthread_cond_signal(&db->wake);
        pthread_mutex_unlock(&db->lock);
}

struct waiting {
        struct hook_db_job job;
        int (*work)(sqlite3 *connection, void *context, struct zp_error *err);
        void *context;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        bool is_done; /* guarded by lock, as all below */
        int result;
        struct zp_error *err;
};

static int wait_work(sqlite3 *connection, void *context, struct zp_error *err) {
        struct waiting *w = context;
        return w->work(connection, w->context, err);
}

static void wait_done(void *context, int result, const struct zp_error *err) {
        struct waiting *w = context;
        pthread_mutex_lock(&w->lock);
        w->result = result;
        if (result < 0 && w->err)
                *w->err = *err;
        w->is_done = true;
        pthread_cond_signal(&w->wake);
        pthread_mutex_unlock(&w->lock);
}

int hook_db_write(struct hook_db *db, int (*work)(sqlite3 *connection, void *context, struct zp_error *err),
                  void *context, struct zp_error *err) {
        struct waiting w = { .job = { wait_work, wait_done, &w }, .work = work, .context = context, .err = err };
        pthread_mutex_init(&w.lock, NULL);
        pthread_cond_init(&w.wake, NULL);
        hook_db_submit(db, &w.job);
        pthread_mutex_lock(&w.lock);
        while (!w.is_done)
                pthread_cond_wait(&w.wake, &w.lock);
        pthread_mutex_unlock(&w.lock);
        pthread_cond_destroy(&w.wake);
        pthread_mutex_destroy(&w.lock);
        return w.result;
}

static int check_place(const struct place *place, struct zp_error *err) {
        struct stat opened, found = { 0 };
        if (fstat(place->fd, &opened) < 0)
                return zp_error_errno(err, errno, "'%s'", place->path);
        if (stat(place->path, &found) < 0 && errno != ENOENT && errno != ENOTDIR)
                return zp_error_errno(err, errno, "'%s'", place->path);
        if (opened.st_nlink > 0 && opened.st_ino == found.st_ino && opened.st_dev == found.st_dev)
                return 0;
        return zp_error_set(err, ESTALE,
                            "'%s' was removed or replaced while it was in use: what is taken in now would be lost; "
                            "start zeropull-hook again",
                            place->path);
}

int hook_db_check(const struct hook_db *db, struct zp_error *err) {
        int r = check_place(&db->places[0], err);
        return r < 0 ? r : check_place(&db->places[1], err);
}

int hook_db_promise(struct hook_db *db, int (*work)(sqlite3 *connection, void *context, struct zp_error *err),
                    void *context, struct zp_error *err) {
        int r = hook_db_write(db, work, context, err);
        return r < 0 ? r : hook_db_check(db, err);
}

sqlite3 *hook_db_begin_read(struct hook_db *db) {
        pthread_mutex_lock(&db->read_lock);
        return db->reader;
}

void hook_db_end_read(struct hook_db *db) {
        pthread_mutex_unlock(&db->read_lock);
}

size_t hook_db_backlog(struct hook_db *db) {
        pthread_mutex_lock(&db->lock);
        size_t waiting = db->waiting;
        pthread_mutex_unlock(&db->lock);
        return waiting;
}

/* ---- opening ---- */

static int connect(const char *path, int flags, sqlite3 **out, struct zp_error *err) {
        flags |= SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
        int result = sqlite3_open_v2(path, out, flags, NULL);
        if (result != SQLITE_OK)
                return hook_sql_failed(*out, result, err);
        sqlite3_busy_timeout(*out, BUSY_TIMEOUT_MS);
        sqlite3_db_config(*out, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
        sqlite3_db_config(*out, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
        return hook_sql_exec(*out, "PRAGMA temp_store = MEMORY; PRAGMA foreign_keys = ON", err);
}

static int lock_directory(struct hook_db *db, const char *directory, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/lock", directory);
        if (!path)
                return zp_error_errno(err, ENOMEM, "state '%s'", directory);
        db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (db->lock_fd < 0)
                return zp_error_errno(err, errno, "open '%s'", path);
        /* a child of one that was killed may have it for a moment, between its fork and its exec */
        for (unsigned waited_ms = 0;; waited_ms += LOCK_LOOK_MS) {
                if (flock(db->lock_fd, LOCK_EX | LOCK_NB) == 0)
                        return 0;
                if (errno != EWOULDBLOCK)
                        return zp_error_errno(err, errno, "lock '%s'", path);
                if (waited_ms >= LOCK_PATIENCE_MS)
                        break;
                zp_pause(LOCK_LOOK_MS, NULL);
        }
        return zp_error_set(err, EBUSY, "state '%s': another zeropull-hook uses it", directory);
}

/* By a descriptor that closing takes no lock of SQLite's with. */
static int open_place(struct place *place, const char *path, const char *suffix, struct zp_error *err) {
        place->path = zp_format("%s%s", path, suffix);
        if (!place->path)
                return zp_error_errno(err, ENOMEM, "'%s'", path);
        place->fd = open(place->path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
        return place->fd < 0 ? zp_error_errno(err, errno, "open '%s'", place->path) : 0;
}

static int open_database(struct hook_db *db, const char *directory, struct zp_error *err) {
        int r = zp_make_directories(directory, 0700, err);
        if (r == 0)
                r = lock_directory(db, directory, err);
        if (r < 0)
                return r;
        zp_autofree char *path = zp_format("%s/hook.db", directory);
        if (!path)
                return zp_error_errno(err, ENOMEM, "state '%s'", directory);
        r = connect(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, &db->writer, err);
        /* a write-ahead log synced at each commit: one fsync for a batch, and readers that wait for nobody */
        if (r == 0)
                r = hook_sql_exec(db->writer,
                                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                  "PRAGMA journal_size_limit = 16777216; PRAGMA cell_size_check = ON",
                                  err);
        if (r == 0)
                r = hook_schema_prepare(db->writer, err);
        if (r == 0)
                r = connect(path, SQLITE_OPEN_READONLY, &db->reader, err);
        if (r == 0)
                r = open_place(&db->places[0], path, "", err);
        if (r == 0)
                r = open_place(&db->places[1], path, "-wal", err);
        return r < 0 ? zp_error_wrap(err, "state '%s'", directory) : 0;
}

int hook_db_open(const char *directory, struct hook_db **out, struct zp_error *err) {
        zp_auto(hook_db_close) struct hook_db *db = calloc(1, sizeof *db);
        if (!db)
                return zp_error_errno(err, ENOMEM, "state '%s'", directory);
        db->lock_fd = db->places[0].fd = db->places[1].fd = -1;
        db->last = &db->first;
        pthread_mutex_init(&db->lock, NULL);
        pthread_mutex_init(&db->read_lock, NULL);
        pthread_cond_init(&db->wake, NULL);
        int r = open_database(db, directory, err);
        if (r < 0)
                return r;
        sigset_t all, old;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        int code = pthread_create(&db->thread, NULL, write_batches, db);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (code)
                return zp_error_errno(err, code, "state '%s': start a thread", directory);
        db->has_thread = true;
        *out = zp_steal(&db);
        return 0;
}

void hook_db_close(struct hook_db *db) {
        if (db->has_thread) {
                pthread_mutex_lock(&db->lock);
                db->is_closing = true;
                pthread_cond_signal(&db->wake);
                pthread_mutex_unlock(&db->lock);
                pthread_join(db->thread, NULL);
        }
        sqlite3_close(db->reader);
        sqlite3_close(db->writer);
        for (size_t i = 0; i < sizeof db->places / sizeof *db->places; i++) {
                if (db->places[i].fd >= 0)
                        close(db->places[i].fd);
                free(db->places[i].path);
        }
        if (db->lock_fd >= 0)
                close(db->lock_fd);
        pthread_cond_destroy(&db->wake);
        pthread_mutex_destroy(&db->read_lock);
        pthread_mutex_destroy(&db->lock);
        free(db);
}
