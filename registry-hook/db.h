/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's database, and its one writer: a thread that runs what others hand it, as many jobs as have come
 * together in one transaction, so that one fsync makes all of them durable (group commit).
 */
#ifndef HOOK_DB_H
#define HOOK_DB_H

#include "base/cleanup.h"
#include "registry-hook/sql.h"

struct hook_db;

/* Opens DIR/hook.db, creating both; one process at a time (-EBUSY). */
int hook_db_open(const char *directory, struct hook_db **out, struct zp_error *err);
/* Finishes the jobs that were submitted. */
void hook_db_close(struct hook_db *db);
ZP_DEFINE_AUTO(struct hook_db, hook_db_close);

/* A job: what is to be written. Embedded in the caller's object, so that submitting cannot fail. */
struct hook_db_job {
        /* Runs on the writer's thread, in a transaction. What a failing one wrote is rolled back, and nobody else's. */
        int (*work)(sqlite3 *connection, void *context, struct zp_error *err);
        /* Runs on the writer's thread, once the work is on disk (`result` is then work's) or has failed. The job may be
         * freed there. Must not wait for anything. */
        void (*done)(void *context, int result, const struct zp_error *err);
        void *context;
        struct hook_db_job *next; /* the writer's, as all below */
        int result;
        struct zp_error error;
};
void hook_db_submit(struct hook_db *db, struct hook_db_job *job);
/* Submits and waits. Not from `work` or `done`. */
int hook_db_write(struct hook_db *db, int (*work)(sqlite3 *connection, void *context, struct zp_error *err),
                  void *context, struct zp_error *err);

/* Whether what was opened lies where the next start looks for it: what is committed is lost otherwise, however durable.
 * -ESTALE: somebody has removed or replaced it. Any thread. */
int hook_db_check(const struct hook_db *db, struct zp_error *err);
/* hook_db_write, of what others are then promised: -ESTALE as above. */
int hook_db_promise(struct hook_db *db, int (*work)(sqlite3 *connection, void *context, struct zp_error *err),
                    void *context, struct zp_error *err);

/* A connection that only reads, for this thread alone until it is given back. Sees what was committed. */
sqlite3 *hook_db_begin_read(struct hook_db *db);
void hook_db_end_read(struct hook_db *db);

/* Jobs waiting for the writer. */
size_t hook_db_backlog(struct hook_db *db);

#endif
