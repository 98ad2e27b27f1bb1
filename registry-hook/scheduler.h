/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that starts builds when their turn comes, watches over them, and writes down how they ended.
 */
#ifndef HOOK_SCHEDULER_H
#define HOOK_SCHEDULER_H

#include <jansson.h>

#include "registry-hook/config.h"
#include "registry-hook/db.h"
#include "registry-hook/live.h"
#include "registry-hook/sandbox.h"

struct hook_scheduler;

struct hook_scheduler_options {
        struct hook_db *db;
        struct hook_current *current;
        struct hook_live *live;
        const struct hook_sandbox *sandbox;
        const char *builder, *store, *state; /* paths; must outlive it */
        void (*undecided)(void *context);    /* there is an event to decide about; from the scheduler's thread */
        void *context;
};
int hook_scheduler_new(const struct hook_scheduler_options *options, struct hook_scheduler **out, struct zp_error *err);
/* Starts the thread; until then nothing runs. */
int hook_scheduler_begin(struct hook_scheduler *scheduler, struct zp_error *err);
/* Kills what runs, which will be taken up again at the next start. Afterwards waking it does nothing. */
void hook_scheduler_end(struct hook_scheduler *scheduler);
/* Builds were queued, or the configuration is another. Any thread. */
void hook_scheduler_wake(struct hook_scheduler *scheduler);
/* A build that runs, or is about to, is asked to end. Any thread. */
void hook_scheduler_cancel(struct hook_scheduler *scheduler, int64_t build);
/* What a running build has said; false: it does not run. `log`, `line` (of HOOK_LINE_SIZE) or `tasks` (the caller's;
 * NULL when it has told of none) may be NULL. Any thread. */
bool hook_scheduler_look(struct hook_scheduler *scheduler, int64_t build, struct zp_buffer *log, char *line,
                         json_t **tasks);
/* How many run now. Any thread. */
size_t hook_scheduler_running(struct hook_scheduler *scheduler);
/* -ESTALE: the store's directory is gone, and no build is started until it is there again. Any thread. */
int hook_scheduler_check_store(const struct hook_scheduler *scheduler, struct zp_error *err);
/* True while builds are not started because the disk is nearly full. Any thread. */
bool hook_scheduler_is_blocked(struct hook_scheduler *scheduler);
/* Ends it, too. */
void hook_scheduler_free(struct hook_scheduler *scheduler);

#endif
