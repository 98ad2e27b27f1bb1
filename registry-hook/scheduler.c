/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/scheduler.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "registry-hook/clock.h"
#include "registry-hook/gifts.h"
#include "registry-hook/log.h"
#include "registry-hook/runner.h"

#define SLOTS 256
/* A build is marked as running a moment before it runs; a wish to cancel it may come in between. */
#define EARLY_CANCELS 64
#define EARLY_MS 10000
/* How often limits are looked at while something runs, and a database that refuses is tried again. */
#define TICK_MS 1000

struct slot {
        bool is_used, wants_cancel;
        bool is_over; /* ended, and not yet written down */
        struct hook_run run;
        struct hook_run_result result;
        struct hook_end end;
};

struct hook_scheduler {
        struct hook_scheduler_options options;
        pthread_t thread;
        bool has_thread;
        int wake_fd;
        atomic_bool is_ending, is_blocked;
        bool has_no_store; /* the thread's */
        pthread_mutex_t lock;
        struct {
                int64_t build, until_ms; /* monotonic */
        } early_cancels[EARLY_CANCELS];  /* of builds that are about to start; guarded by lock */
        struct slot slots[SLOTS];        /* changed by the thread with the lock held; it reads them without */
};

/* ---- telling ---- */

static void tell(struct hook_scheduler *s, const struct slot *slot, const char *state) {
        char text[64];
        snprintf(text, sizeof text, "{\"id\": %lld, \"state\": \"%s\"}", (long long) slot->run.build.id, state);
        hook_live_send(s->options.live, "build", text);
}

static void tell_line(struct hook_scheduler *s, const struct slot *slot) {
        json_t *message = json_pack("{s:I, s:o}", "id", (json_int_t) slot->run.build.id, "line",
                                    hook_json_text(slot->run.transcript.line));
        char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
        json_decref(message);
        if (text)
                hook_live_send(s->options.live, "progress", text);
        free(text);
}

static void tell_tasks(struct hook_scheduler *s, const struct slot *slot) {
        json_t *message =
                json_pack("{s:I, s:O}", "id", (json_int_t) slot->run.build.id, "tasks", slot->run.tasks.tasks);
        char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
        json_decref(message);
        if (text)
                hook_live_send(s->options.live, "tasks", text);
        free(text);
}

/* ---- starting ---- */

static int limit_of(const void *context, const char *host) {
        const struct hook_registry *registry = hook_config_registry(context, host);
        return registry ? registry->concurrency : 1; /* the start will say that it is gone */
}

static uint64_t free_bytes(struct hook_scheduler *s) {
        struct statvfs st;
        return statvfs(s->options.store, &st) == 0 ? (uint64_t) st.f_bavail * st.f_frsize : UINT64_MAX;
}

static struct slot *free_slot(struct hook_scheduler *s, const struct hook_config *config) {
        struct slot *found = NULL;
        int used = 0;
        for (size_t i = 0; i < SLOTS; i++) {
                used += s->slots[i].is_used;
                if (!found && !s->slots[i].is_used)
                        found = &s->slots[i];
        }
        return used < config->concurrency ? found : NULL;
}

/* With the lock held. */
static bool take_early_cancel(struct hook_scheduler *s, int64_t build) {
        bool is_wanted = false;
        for (size_t i = 0; i < EARLY_CANCELS; i++)
                if (s->early_cancels[i].build == build) {
                        is_wanted |= s->early_cancels[i].until_ms > hook_monotonic_ms();
                        s->early_cancels[i].build = 0;
                }
        return is_wanted;
}

int hook_scheduler_check_store(const struct hook_scheduler *s, struct zp_error *err) {
        struct stat st;
        int code = stat(s->options.store, &st) < 0 ? errno : S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
        if (code == 0)
                return 0;
        return zp_error_set(
                err, ESTALE,
                "store '%s' is gone: %s: builds wait until the directory is there again; zeropull-hook makes "
                "it when it is started again",
                s->options.store, strerror(code));
}

/* What a build says that has lost its store tells nobody why. */
static void blame_store(struct hook_scheduler *s, struct slot *slot) {
        struct zp_error err = { 0 };
        bool is_failed = slot->end.kind == HOOK_FAILED || slot->end.kind == HOOK_RETRY;
        if (!is_failed || hook_scheduler_check_store(s, &err) == 0)
                return;
        slot->end.kind = HOOK_RETRY;
        snprintf(slot->result.reason, sizeof slot->result.reason, "%.500s", err.message);
}

static void start_in(struct hook_scheduler *s, struct slot *slot, const struct hook_config *config,
                     const struct hook_build *build) {
        struct hook_gifts gifts;
        struct zp_error err = { 0 };
        hook_gifts_find(s->options.db, s->options.state, config, build, &gifts);
        struct hook_run_options options = { config,         s->options.sandbox, s->options.builder, s->options.store,
                                            gifts.previous, gifts.profile,      gifts.auths };
        pthread_mutex_lock(&s->lock);
        *slot = (struct slot){ .is_used = true, .wants_cancel = take_early_cancel(s, build->id) };
        int r = hook_run_start(&slot->run, build, &options, &err);
        if (r < 0) {
                slot->is_over = true;
                snprintf(slot->result.reason, sizeof slot->result.reason, "%.500s", err.message);
                slot->end = (struct hook_end){ .build = &slot->run.build,
                                               .kind = r == -ESTALE   ? HOOK_RULE_GONE
                                                       : r == -EINVAL ? HOOK_FAILED
                                                                      : HOOK_RETRY,
                                               .reason = slot->result.reason,
                                               .result = "",
                                               .log = "",
                                               .artifact = "",
                                               .now_ms = hook_now_ms() };
                if (slot->end.kind == HOOK_RETRY)
                        blame_store(s, slot);
        }
        pthread_mutex_unlock(&s->lock);
        hook_gifts_clear(&gifts);
        hook_log(HOOK_LOG_INFO, "build %lld: %s/%s@%s (%s)", (long long) build->id, build->host, build->repository,
                 build->digest, build->platform);
        tell(s, slot, "running");
}

static bool has_store(struct hook_scheduler *s) {
        struct zp_error err = { 0 };
        bool is_gone = hook_scheduler_check_store(s, &err) < 0;
        if (is_gone && !s->has_no_store)
                hook_log(HOOK_LOG_ERROR, "%s", err.message);
        else if (!is_gone && s->has_no_store)
                hook_log(HOOK_LOG_INFO, "store '%s' is there again", s->options.store);
        s->has_no_store = is_gone;
        return !is_gone;
}

/* Starts what may; returns how long nothing more will be due, in ms, -1 for ever. */
static int start_due(struct hook_scheduler *s) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(s->options.current);
        if (!has_store(s)) {
                atomic_store(&s->is_blocked, false);
                return TICK_MS;
        }
        bool is_blocked = free_bytes(s) < (uint64_t) config->min_free;
        if (is_blocked && !atomic_exchange(&s->is_blocked, true))
                hook_log(HOOK_LOG_WARNING, "'%s' has less than %lld bytes free: no build is started", s->options.store,
                         (long long) config->min_free);
        atomic_store(&s->is_blocked, is_blocked);
        if (is_blocked)
                return TICK_MS;
        for (struct slot *slot; (slot = free_slot(s, config));) {
                struct hook_start start = { .now_ms = hook_now_ms(), .limit = limit_of, .context = config };
                struct zp_error err = { 0 };
                if (hook_db_write(s->options.db, hook_queue_start, &start, &err) < 0) {
                        hook_log(HOOK_LOG_ERROR, "%s", err.message);
                        return TICK_MS;
                }
                if (!start.is_found) {
                        int64_t wait = start.next_ms ? start.next_ms - start.now_ms : -1;
                        return wait > 3600 * 1000 ? 3600 * 1000 : (int) wait;
                }
                start_in(s, slot, config, &start.build);
        }
        return -1;
}

/* ---- ending ---- */

static void clear_slot(struct hook_scheduler *s, struct slot *slot) {
        hook_gifts_take_back(s->options.state, slot->run.build.id);
        pthread_mutex_lock(&s->lock);
        hook_run_clear(&slot->run);
        free(slot->result.json);
        *slot = (struct slot){ 0 };
        pthread_mutex_unlock(&s->lock);
}

static void write_end(struct hook_scheduler *s, struct slot *slot) {
        struct zp_error err = { 0 };
        if (hook_db_write(s->options.db, hook_queue_end, &slot->end, &err) < 0) {
                hook_log(HOOK_LOG_ERROR, "build %lld: %s; trying again", (long long) slot->run.build.id, err.message);
                return;
        }
        char again[48] = "";
        if (slot->end.wait_ms)
                snprintf(again, sizeof again, ", trying again in %lld s", (long long) slot->end.wait_ms / 1000);
        hook_log(slot->end.kind == HOOK_DONE ? HOOK_LOG_INFO : HOOK_LOG_WARNING, "build %lld: %s%s%s%s",
                 (long long) slot->run.build.id, slot->end.wait_ms ? "failed" : slot->end.state, again,
                 slot->end.reason[0] ? ": " : "", slot->end.reason);
        tell(s, slot, slot->end.state);
        if (slot->end.kind == HOOK_RULE_GONE)
                s->options.undecided(s->options.context);
        clear_slot(s, slot);
}

static void watch_limits(struct hook_scheduler *s) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(s->options.current);
        int64_t now = hook_monotonic_ms();
        struct slot *youngest = NULL;
        for (size_t i = 0; i < SLOTS; i++) {
                struct slot *slot = &s->slots[i];
                if (!slot->is_used || slot->is_over)
                        continue;
                if (now >= slot->run.deadline_ms)
                        hook_run_stop(&slot->run, HOOK_STOP_TIME, now);
                if (slot->run.stop && now >= slot->run.kill_ms)
                        hook_run_kill(&slot->run);
                if (!slot->run.stop && (!youngest || slot->run.started_ms > youngest->run.started_ms))
                        youngest = slot;
        }
        if (youngest && free_bytes(s) < (uint64_t) config->min_free / 2)
                hook_run_stop(&youngest->run, HOOK_STOP_DISK, now);
}

/* ---- the loop ---- */

struct polled {
        struct pollfd fds[1 + 3 * SLOTS];
        struct slot *slots[1 + 3 * SLOTS];
        nfds_t count;
};

static void poll_for(struct polled *p, int fd, struct slot *slot) {
        if (fd < 0)
                return;
        p->fds[p->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
        p->slots[p->count++] = slot;
}

static bool collect(struct hook_scheduler *s, struct polled *p) {
        bool any = false;
        p->count = 0;
        poll_for(p, s->wake_fd, NULL);
        for (size_t i = 0; i < SLOTS; i++) {
                struct slot *slot = &s->slots[i];
                any |= slot->is_used;
                if (!slot->is_used || slot->is_over)
                        continue;
                poll_for(p, slot->run.child.pidfd, slot);
                poll_for(p, slot->run.out_fd, slot);
                poll_for(p, slot->run.err_fd, slot);
        }
        return any;
}

static void handle(struct hook_scheduler *s, struct slot *slot, int fd) {
        struct hook_run_news news = { false, false };
        if (slot->is_over)
                return;
        pthread_mutex_lock(&s->lock);
        if (fd == slot->run.child.pidfd) {
                news = hook_run_end(&slot->run, &slot->result, &slot->end);
                blame_store(s, slot);
                slot->is_over = true;
        } else {
                news = hook_run_read(&slot->run);
        }
        pthread_mutex_unlock(&s->lock);
        if (news.line)
                tell_line(s, slot);
        if (news.tasks)
                tell_tasks(s, slot);
}

static void do_rounds(struct hook_scheduler *s) {
        for (size_t i = 0; i < SLOTS; i++) {
                struct slot *slot = &s->slots[i];
                pthread_mutex_lock(&s->lock);
                bool wants_cancel = slot->is_used && !slot->is_over && slot->wants_cancel;
                pthread_mutex_unlock(&s->lock);
                if (wants_cancel)
                        hook_run_stop(&slot->run, HOOK_STOP_CANCELLED, hook_monotonic_ms());
                if (slot->is_used && slot->is_over)
                        write_end(s, slot);
        }
        watch_limits(s);
}

static void kill_all(struct hook_scheduler *s) {
        for (size_t i = 0; i < SLOTS; i++) {
                struct slot *slot = &s->slots[i];
                if (!slot->is_used)
                        continue;
                if (!slot->is_over) {
                        hook_run_kill(&slot->run);
                        hook_run_end(&slot->run, &slot->result, &slot->end);
                }
                clear_slot(s, slot);
        }
}

static void *schedule(void *context) {
        struct hook_scheduler *s = context;
        struct polled polled;
        while (!atomic_load(&s->is_ending)) {
                do_rounds(s);
                int wait = start_due(s);
                if (collect(s, &polled) && (wait < 0 || wait > TICK_MS))
                        wait = TICK_MS;
                if (poll(polled.fds, polled.count, wait) < 0)
                        continue;
                uint64_t ignored;
                if (polled.fds[0].revents && read(s->wake_fd, &ignored, sizeof ignored) < 0)
                        continue;
                for (nfds_t i = 1; i < polled.count; i++)
                        if (polled.fds[i].revents)
                                handle(s, polled.slots[i], polled.fds[i].fd);
        }
        kill_all(s);
        return NULL;
}

/* ---- from other threads ---- */

int hook_scheduler_new(const struct hook_scheduler_options *options, struct hook_scheduler **out,
                       struct zp_error *err) {
        struct hook_scheduler *s = calloc(1, sizeof *s);
        if (!s)
                return zp_error_errno(err, ENOMEM, "scheduler");
        s->options = *options;
        pthread_mutex_init(&s->lock, NULL);
        s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (s->wake_fd < 0) {
                int r = zp_error_errno(err, errno, "scheduler");
                hook_scheduler_free(s);
                return r;
        }
        *out = s;
        return 0;
}

int hook_scheduler_begin(struct hook_scheduler *s, struct zp_error *err) {
        int code = pthread_create(&s->thread, NULL, schedule, s);
        s->has_thread = code == 0;
        return code ? zp_error_errno(err, code, "scheduler") : 0;
}

void hook_scheduler_end(struct hook_scheduler *s) {
        if (!s->has_thread)
                return;
        atomic_store(&s->is_ending, true);
        hook_scheduler_wake(s);
        pthread_join(s->thread, NULL);
        s->has_thread = false;
}

void hook_scheduler_wake(struct hook_scheduler *s) {
        uint64_t one = 1;
        ssize_t ignored = write(s->wake_fd, &one, sizeof one);
        (void) ignored; /* full: it will wake in any case */
}

static struct slot *find_running(struct hook_scheduler *s, int64_t build) {
        for (size_t i = 0; i < SLOTS; i++)
                if (s->slots[i].is_used && s->slots[i].run.build.id == build)
                        return &s->slots[i];
        return NULL;
}

void hook_scheduler_cancel(struct hook_scheduler *s, int64_t build) {
        pthread_mutex_lock(&s->lock);
        struct slot *slot = find_running(s, build);
        if (slot)
                slot->wants_cancel = true;
        for (size_t i = 0; i < EARLY_CANCELS && !slot; i++)
                if (s->early_cancels[i].build == 0 || s->early_cancels[i].until_ms <= hook_monotonic_ms()) {
                        s->early_cancels[i].build = build;
                        s->early_cancels[i].until_ms = hook_monotonic_ms() + EARLY_MS;
                        break;
                }
        pthread_mutex_unlock(&s->lock);
        hook_scheduler_wake(s);
}

bool hook_scheduler_look(struct hook_scheduler *s, int64_t build, struct zp_buffer *log, char *line, json_t **tasks) {
        pthread_mutex_lock(&s->lock);
        struct slot *slot = find_running(s, build);
        const struct hook_transcript *transcript = slot ? &slot->run.transcript : NULL;
        if (transcript && log && transcript->text.data)
                zp_buffer_append(log, transcript->text.data, transcript->text.size);
        if (transcript && line)
                memcpy(line, transcript->line, HOOK_LINE_SIZE);
        if (tasks)
                *tasks = slot ? json_deep_copy(slot->run.tasks.tasks) : NULL;
        pthread_mutex_unlock(&s->lock);
        return slot != NULL;
}

size_t hook_scheduler_running(struct hook_scheduler *s) {
        size_t running = 0;
        pthread_mutex_lock(&s->lock);
        for (size_t i = 0; i < SLOTS; i++)
                running += s->slots[i].is_used;
        pthread_mutex_unlock(&s->lock);
        return running;
}

bool hook_scheduler_is_blocked(struct hook_scheduler *s) {
        return atomic_load(&s->is_blocked);
}

void hook_scheduler_free(struct hook_scheduler *s) {
        hook_scheduler_end(s);
        if (s->wake_fd >= 0)
                close(s->wake_fd);
        pthread_mutex_destroy(&s->lock);
        free(s);
}
