/* SPDX-License-Identifier: Apache-2.0
 *
 * One build under way: `zeropull build --push` in a sandbox, what it says, and what came of it.
 */
#ifndef HOOK_RUNNER_H
#define HOOK_RUNNER_H

#include <sys/wait.h>

#include "registry-hook/config.h"
#include "registry-hook/queue.h"
#include "registry-hook/sandbox.h"
#include "registry-hook/tasks.h"
#include "registry-hook/transcript.h"

/* Why it is being ended before it ends by itself. */
enum hook_stop { HOOK_GOES_ON, HOOK_STOP_CANCELLED, HOOK_STOP_TIME, HOOK_STOP_DISK, HOOK_STOP_SERVICE };

struct hook_run {
        struct hook_build build;
        const struct hook_sandbox *sandbox;
        struct hook_sandboxed child;
        int out_fd, err_fd; /* non-blocking; -1 once they have ended */
        struct zp_buffer output;
        struct hook_transcript transcript;
        struct hook_tasks tasks;
        enum hook_stop stop;
        int64_t started_ms, deadline_ms, kill_ms; /* monotonic; kill_ms: when asking has not helped; 0: not asked */
        int64_t time_ms;                          /* its limits, for messages */
        uint64_t memory;
};

struct hook_run_options {
        const struct hook_config *config;
        const struct hook_sandbox *sandbox;
        const char *builder, *store; /* paths */
        const char *previous;        /* the digest of the repository's last image; "": it has none */
        const char *profile;         /* a file, or NULL */
        const char *auths;           /* likewise: credentials beside the registry's own */
};
/* The caller's thread must outlive the build. -ESTALE: the configuration has its rule no
 * more; -EINVAL: it cannot be run as the configuration is. */
int hook_run_start(struct hook_run *run, const struct hook_build *build, const struct hook_run_options *options,
                   struct zp_error *err);
/* Takes what it has said; call when one of its descriptors is readable. */
struct hook_run_news {
        bool line;  /* as hook_transcript_add says */
        bool tasks; /* as hook_tasks_take does */
};
struct hook_run_news hook_run_read(struct hook_run *run);
/* Asks it to end, and later makes it. */
void hook_run_stop(struct hook_run *run, enum hook_stop why, int64_t monotonic_ms);
void hook_run_kill(struct hook_run *run);
/* Once its pidfd is readable: reaps it and says what came of it, and what it said last. `end` refers to the run, which
 * is to be cleared after. */
struct hook_run_result {
        char reason[QUEUE_REASON_SIZE], artifact[ZP_DIGEST_TEXT_SIZE];
        char *json; /* or NULL */
};
struct hook_run_news hook_run_end(struct hook_run *run, struct hook_run_result *result, struct hook_end *end);
void hook_run_clear(struct hook_run *run);

#endif
