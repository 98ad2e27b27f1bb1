/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/runner.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "oci/json.h"
#include "registry-hook/clock.h"
#include "registry-hook/target.h"

#define ARGUMENTS_MAX 24
#define OUTPUT_MAX 65536
/* Between asking and killing: a push that is under way ends its request. */
#define PATIENCE_MS 10000
/* zeropull's exit codes (zeropull(1)) */
#define EXIT_USAGE 2
#define EXIT_NOT_FOUND 3
#define EXIT_REFUSED 4

/* ---- starting ---- */

/* What the builder may know of our environment. */
static const char *const passed[] = {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "ASAN_OPTIONS",
        "UBSAN_OPTIONS",
        "LSAN_OPTIONS",
};
#define PASSED (sizeof passed / sizeof *passed)

struct command {
        const char *argv[ARGUMENTS_MAX + 1];
        size_t count;
        char *owned[10];
        size_t owned_count;
        char *environment[PASSED + 1];
        size_t environment_count;
};

static void command_clear(struct command *c) {
        for (size_t i = 0; i < c->owned_count; i++)
                free(c->owned[i]);
        for (size_t i = 0; i < c->environment_count; i++)
                free(c->environment[i]);
}
#define autocommand __attribute__((cleanup(command_clear)))

static void add(struct command *c, const char *argument) {
        c->argv[c->count++] = argument;
}

static bool add_owned(struct command *c, char *argument) {
        if (!argument)
                return false;
        c->owned[c->owned_count++] = argument;
        add(c, argument);
        return true;
}

static bool set_environment(struct command *c) {
        for (size_t i = 0; i < PASSED; i++) {
                const char *value = getenv(passed[i]);
                if (!value)
                        continue;
                if (!(c->environment[c->environment_count] = zp_format("%s=%s", passed[i], value)))
                        return false;
                c->environment_count++;
        }
        return true;
}

static bool add_base(struct command *c, const struct hook_build *build, const struct hook_rule *rule,
                     const char *previous) {
        switch (rule->base) {
        case HOOK_BASE_NONE:
                return add_owned(c, strdup("--base=none"));
        case HOOK_BASE_REBUILD:
                add(c, "--rebuild");
                return true;
        case HOOK_BASE_IMAGE:
                return add_owned(c, zp_format("--base=%s", rule->base_image));
        default: /* by name it would not be found: every build has another */
                return !previous[0] ||
                       add_owned(c, zp_format("--base=docker://%s/%s@%s", build->host, build->repository, previous));
        }
}

static bool is_same(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* The files of credentials, those of the configuration first: what came with a wish may not be allowed to push. */
static bool add_auth_files(struct command *c, const struct hook_registry *registry, const struct hook_registry *target,
                           const char *auths) {
        const char *files[] = { registry->auth_file, target->auth_file, auths };
        zp_autobuffer struct zp_buffer list = { 0 };
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                if (!files[i] || (i == 1 && is_same(files[0], files[1])))
                        continue;
                if (!zp_buffer_text(&list, list.size ? ":" : "") || !zp_buffer_text(&list, files[i]))
                        return false;
        }
        return list.size == 0 || add_owned(c, zp_format("--auth-file=%s", list.data));
}

static bool set_arguments(struct command *c, const struct hook_build *build, const struct hook_rule *rule,
                          const struct hook_registry *registry, const struct hook_registry *target,
                          const struct hook_run_options *options) {
        add(c, options->builder);
        add(c, "build");
        add(c, "--json");
        add(c, "--progress=json");
        add(c, "--store");
        add(c, options->store);
        bool done = add_owned(c, zp_format("--push=%s", build->target));
        if (registry->plain_http)
                add(c, "--plain-http");
        done &= add_auth_files(c, registry, target, options->auths);
        if (registry->ca_file)
                done &= add_owned(c, zp_format("--ca-file=%s", registry->ca_file));
        if (rule->sign_key)
                done &= add_owned(c, zp_format("--sign-key=%s", rule->sign_key));
        if (rule->passphrase_file)
                done &= add_owned(c, zp_format("--passphrase-file=%s", rule->passphrase_file));
        if (options->profile)
                done &= add_owned(c, zp_format("--profile=%s", options->profile));
        done &= add_base(c, build, rule, options->previous);
        return done && add_owned(c, zp_format("docker://%s/%s@%s", build->host, build->repository, build->digest));
}

static int open_pipe(int *read_end, int *write_end, struct zp_error *err) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "build: pipe");
        fcntl(ends[0], F_SETFL, O_NONBLOCK);
        *read_end = ends[0];
        *write_end = ends[1];
        return 0;
}

static int start(struct hook_run *run, const struct command *command, const struct hook_run_options *options,
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
        autocommand struct command command = { 0 };
        *run = (struct hook_run){ .build = *build, .out_fd = -1, .err_fd = -1 };
        run->sandbox = options->sandbox;
        run->time_ms = options->config->time_ms;
        run->memory = (uint64_t) options->config->memory;
        if (!rule || !registry)
                return zp_error_set(err, EINVAL, "%s '%s' is not in the configuration any more",
                                    rule ? "registry" : "rule", rule ? build->host : build->rule);
        const struct hook_registry *target = hook_target_registry(options->config, build->target, registry);
        int r = hook_target_check(registry, target, err);
        if (r < 0)
                return r;
        if (!set_arguments(&command, build, rule, registry, target, options) || !set_environment(&command))
                return zp_error_errno(err, ENOMEM, "build");
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

void hook_run_end(struct hook_run *run, struct hook_run_result *result, struct hook_end *end) {
        siginfo_t info = { 0 };
        *result = (struct hook_run_result){ 0 };
        bool ran_out = hook_sandbox_end(run->sandbox, &run->child, &info);
        for (int i = 0; i < 64 && (run->out_fd >= 0 || run->err_fd >= 0); i++) /* what is still in the pipes */
                hook_run_read(run);
        *end = (struct hook_end){ .build = &run->build, .now_ms = hook_now_ms() };
        end->kind = judge(run, &info, ran_out, result, end);
        end->reason = result->reason;
        end->result = result->json ? result->json : "";
        end->log = run->transcript.text.data ? run->transcript.text.data : "";
        end->artifact = result->artifact;
}

void hook_run_clear(struct hook_run *run) {
        close_end(&run->out_fd);
        close_end(&run->err_fd);
        zp_buffer_clear(&run->output);
        hook_transcript_clear(&run->transcript);
        hook_tasks_clear(&run->tasks);
}
