/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/runner.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "oci/json.h"
#include "registry-hook/clock.h"
#include "registry-hook/command.h"
#include "registry-hook/target.h"

#define OUTPUT_MAX 65536
/* Between asking and killing: a push that is under way ends its request. */
#define PATIENCE_MS 10000
/* zeropull's exit codes (zeropull(1)) */
#define EXIT_USAGE 2
#define EXIT_NOT_FOUND 3
#define EXIT_REFUSED 4

/* ---- starting ---- */

static int open_pipe(int *read_end, int *write_end, struct zp_error *err) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "build: pipe");
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        *read_end = ends[0];
        *write_end = ends[1];
        return 0;
}

static int start(struct hook_run *run, const struct hook_command *command, const struct hook_run_options *options,
                 struct zp_error *err) {
        const struct hook_config *config = options->config;
        zp_autoclose int out = -1, error = -1;
        int r = open_pipe(&run->out_fd, &out, err);
        if (r == 0)
                r = open_pipe(&run->err_fd, &error, err);
        if (r < 0)
                return r;
        struct hook_sandbox_options sandbox = {
                .argv = command->argv,
                .environment = (const char *const *) command->environment,
                .writable = { options->store },
                .stdout_fd = out,
                .stderr_fd = error,
                .memory = (uint64_t) config->memory,
                .file_size = (uint64_t) config->file_size,
                .cpu_s = (uint64_t) config->time_ms / 1000 * 64, /* a clock's hour has more on many processors */
        };
        if (strncmp(run->build.target, "dir:/", 5) == 0)
                sandbox.writable[1] = run->build.target + 4;
        return hook_sandbox_start(options->sandbox, &sandbox, &run->child, err);
}

int hook_run_start(struct hook_run *run, const struct hook_build *build, const struct hook_run_options *options,
                   struct zp_error *err) {
        const struct hook_rule *rule = hook_config_rule(options->config, build->rule);
        const struct hook_registry *registry = hook_config_registry(options->config, build->host);
        hook_autocommand struct hook_command command = { 0 };
        *run = (struct hook_run){ .build = *build, .out_fd = -1, .err_fd = -1 };
        run->sandbox = options->sandbox;
        run->time_ms = options->config->time_ms;
        run->memory = (uint64_t) options->config->memory;
        if (!rule)
                return zp_error_set(err, ESTALE, "rule '%s' is not in the configuration any more", build->rule);
        if (!registry)
                return zp_error_set(err, EINVAL, "registry '%s' is not in the configuration any more", build->host);
        const struct hook_registry *target = hook_target_registry(options->config, build->target, registry);
        if (strncmp(build->target, "dir:", 4) == 0 && access(build->target + 4, X_OK) < 0)
                return zp_error_errno(err, errno, "target '%s'", build->target);
        int r = hook_target_check(registry, target, err);
        if (r < 0)
                return r;
        r = hook_command_fill(&command, build, rule, registry, target, options, err);
        if (r < 0)
                return r;
        r = start(run, &command, options, err);
        run->started_ms = hook_monotonic_ms();
        run->deadline_ms = run->time_ms ? run->started_ms + run->time_ms : INT64_MAX;
        return r;
}

/* ---- under way ---- */

static void close_end(int *fd) {
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

/* Returns how many bytes came; 0: none now. */
static size_t read_some(int *fd, char *buffer, size_t size) {
        ssize_t got = *fd < 0 ? 0 : read(*fd, buffer, size);
        if (*fd >= 0 && (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)))
                close_end(fd);
        return got > 0 ? (size_t) got : 0;
}

struct hook_run_news hook_run_read(struct hook_run *run) {
        char buffer[16384], text[sizeof buffer + HOOK_TASKS_LINE];
        struct hook_run_news news = { false, false };
        size_t size = read_some(&run->err_fd, buffer, sizeof buffer);
        size = hook_tasks_take(&run->tasks, buffer, size, text, &news.tasks);
        if (size > 0)
                hook_transcript_add(&run->transcript, text, size, &news.line);
        size = read_some(&run->out_fd, buffer, sizeof buffer);
        if (size > 0 && run->output.size + size <= OUTPUT_MAX)
                zp_buffer_append(&run->output, buffer, size);
        return news;
}

void hook_run_stop(struct hook_run *run, enum hook_stop why, int64_t monotonic_ms) {
        if (run->stop)
                return;
        run->stop = why;
        run->kill_ms = monotonic_ms + PATIENCE_MS;
        kill(-run->child.pid, SIGTERM);
}

void hook_run_kill(struct hook_run *run) {
        kill(-run->child.pid, SIGKILL);
        kill(run->child.pid, SIGKILL); /* before it has made its group */
}

/* ---- ended ---- */

static bool read_result(const struct hook_run *run, struct hook_run_result *result, struct hook_end *end) {
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_digest artifact;
        uint64_t size, sent;
        if (!run->output.data || zp_json_load(run->output.data, run->output.size, "result", &root, NULL) < 0 ||
            zp_json_digest(root, "snapshot", "result", &artifact, NULL) < 0 ||
            zp_json_size(root, "snapshotSize", "result", &size, NULL) < 0 ||
            zp_json_size(root, "bytesSent", "result", &sent, NULL) < 0)
                return false;
        zp_digest_text(&artifact, result->artifact);
        result->json = json_dumps(root, JSON_COMPACT);
        end->snapshot_size = size;
        end->sent_size = sent;
        end->seconds = (double) (hook_monotonic_ms() - run->started_ms) / 1000;
        return result->json != NULL;
}

static enum hook_end_kind stopped(const struct hook_run *run, char *reason) {
        switch (run->stop) {
        case HOOK_STOP_CANCELLED:
                snprintf(reason, QUEUE_REASON_SIZE, "cancelled while it ran");
                return HOOK_CANCELLED;
        case HOOK_STOP_TIME:
                snprintf(reason, QUEUE_REASON_SIZE, "took longer than %lld s", (long long) run->time_ms / 1000);
                return HOOK_FAILED;
        default:
                snprintf(reason, QUEUE_REASON_SIZE, "the disk was nearly full");
                return HOOK_RETRY;
        }
}

static enum hook_end_kind judge(const struct hook_run *run, const siginfo_t *info, bool ran_out,
                                struct hook_run_result *result, struct hook_end *end) {
        if (info->si_code == CLD_EXITED && info->si_status == 0) {
                if (read_result(run, result, end))
                        return HOOK_DONE;
                snprintf(result->reason, sizeof result->reason, "the builder's answer is malformed");
                return HOOK_RETRY;
        }
        if (run->stop)
                return stopped(run, result->reason);
        if (ran_out) {
                snprintf(result->reason, sizeof result->reason, "it used more memory than it may (%llu MiB)",
                         (unsigned long long) run->memory >> 20);
                return HOOK_RETRY;
        }
        if (info->si_code != CLD_EXITED) {
                snprintf(result->reason, sizeof result->reason, "the builder was killed: %s (limits: %s)",
                         strsignal(info->si_status), info->si_status == SIGXCPU ? "time" : "memory, perhaps");
                return HOOK_RETRY;
        }
        hook_transcript_reason(&run->transcript, result->reason, sizeof result->reason);
        bool is_final =
                info->si_status == EXIT_USAGE || info->si_status == EXIT_NOT_FOUND || info->si_status == EXIT_REFUSED;
        return is_final ? HOOK_FAILED : HOOK_RETRY;
}

struct hook_run_news hook_run_end(struct hook_run *run, struct hook_run_result *result, struct hook_end *end) {
        siginfo_t info = { 0 };
        struct hook_run_news news = { false, false };
        *result = (struct hook_run_result){ 0 };
        bool ran_out = hook_sandbox_end(run->sandbox, &run->child, &info);
        for (int i = 0; i < 64 && (run->out_fd >= 0 || run->err_fd >= 0); i++) { /* what is still in the pipes */
                struct hook_run_news more = hook_run_read(run);
                news.line |= more.line;
                news.tasks |= more.tasks;
        }
        *end = (struct hook_end){ .build = &run->build, .now_ms = hook_now_ms() };
        end->kind = judge(run, &info, ran_out, result, end);
        end->reason = result->reason;
        end->result = result->json ? result->json : "";
        end->log = run->transcript.text.data ? run->transcript.text.data : "";
        end->artifact = result->artifact;
        return news;
}

void hook_run_clear(struct hook_run *run) {
        close_end(&run->out_fd);
        close_end(&run->err_fd);
        zp_buffer_clear(&run->output);
        hook_transcript_clear(&run->transcript);
        hook_tasks_clear(&run->tasks);
}
