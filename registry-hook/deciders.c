/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/deciders.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "registry-hook/auths.h"
#include "registry-hook/clock.h"
#include "registry-hook/decide.h"
#include "registry-hook/log.h"

#define THREADS 8
#define NICE 5
/* For one registry at a time, so that none that is slow keeps the others' events waiting; and for one that was slow in
 * vain when last asked. */
#define THREADS_OF_ONE (THREADS / 2)
#define THREADS_OF_SILENT 1
/* For all of those together, so that however many they are the others' events have threads left. */
#define THREADS_OF_ALL_SILENT (THREADS / 2)
#define SILENT_MAX 64
/* A registry that is away for a day has lost its notifications: the reconcile poll finds what is left. */
#define ATTEMPTS_MAX 32
/* What is not there is asked for again so often, so much later; and what a registry itself has told of by its digest
 * once more, each time after twice as long: what stands before the registry may not find it, or not all of it, yet. */
#define ABSENT_ATTEMPTS 3
#define ABSENT_MS 1000
/* A tag is written a moment after the push is told of, or moves on. */
#define LOOK_AGAIN_MS 2000
/* When the disk is full, or the database cannot be read. */
#define TROUBLE_MS 1000

struct hook_deciders {
        struct hook_deciders_options options;
        struct zp_cancel cancel;
        pthread_t threads[THREADS];
        size_t thread_count;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        struct hook_busy_event busy[THREADS]; /* being decided; guarded by lock, as all below */
        size_t busy_count;
        char silent[SILENT_MAX][HOOK_HOST_SIZE]; /* registries that were slow in vain; "": none */
        size_t silent_next;
        uint64_t wakes; /* how often somebody said that events have come */
};

/* ---- one event ---- */

static void tell(struct hook_deciders *d, int64_t build) {
        char text[64];
        snprintf(text, sizeof text, "{\"id\": %lld}", (long long) build);
        hook_live_send(d->options.live, "build", text);
}

static int write_verdict(struct hook_deciders *d, struct hook_pending *pending, struct hook_decision *decision,
                         struct zp_error *err) {
        struct hook_verdict verdict = { .pending = pending,
                                        .wanted = decision->wanted,
                                        .wanted_count = decision->count,
                                        .text = decision->text,
                                        .problem = decision->problem,
                                        .tag_digest = decision->tag_digest[0] ? decision->tag_digest : NULL,
                                        .is_tag_gone = decision->is_tag_gone,
                                        .look_again_ms = decision->is_tag_unclear ? hook_now_ms() + LOOK_AGAIN_MS : 0,
                                        .now_ms = hook_now_ms() };
        int r = hook_db_write(d->options.db, hook_queue_decide, &verdict, err);
        if (r < 0)
                return r;
        bool any = false;
        for (size_t i = 0; i < decision->count; i++) {
                any |= decision->wanted[i].outcome == HOOK_QUEUED;
                tell(d, decision->wanted[i].build); /* also of what is published: it may have another tag now */
        }
        for (size_t i = 0; i < verdict.superseded_count; i++)
                tell(d, verdict.superseded[i]);
        hook_log(HOOK_LOG_INFO, "%s/%s%s%s: %s%s", pending->event.host, pending->event.repository,
                 pending->event.tag[0] ? ":" : "", pending->event.tag, decision->text,
                 any               ? ": queued"
                 : decision->count ? ": nothing new"
                                   : "");
        if (any)
                d->options.queued(d->options.context);
        return 0;
}

/* When to ask again, soon when it is not there: registries tell of pushes before they show them. 0: not any more. */
static int64_t next_time(const struct hook_pending *pending, int result) {
        if (result == -ENOENT) {
                bool is_told = pending->event.kind == HOOK_PUSH && pending->event.has_digest;
                bool is_last = pending->attempts >= ABSENT_ATTEMPTS + is_told;
                return is_last ? 0 : hook_now_ms() + (is_told ? ABSENT_MS << pending->attempts : ABSENT_MS);
        }
        return pending->attempts + 1 < ATTEMPTS_MAX ? hook_now_ms() + hook_queue_backoff_ms(pending->attempts + 1) : 0;
}

static int postpone(struct hook_deciders *d, struct hook_pending *pending, int result, const struct zp_error *reason,
                    struct zp_error *err) {
        struct hook_decision none = { 0 };
        struct hook_postponed postponed = { pending, next_time(pending, result), reason->message };
        if (!postponed.not_before_ms) {
                snprintf(none.text, sizeof none.text, result == -ENOENT ? "gone: %.400s" : "given up: %.400s",
                         reason->message);
                none.problem = result == -ENOENT ? "absent" : "failed";
                none.is_tag_gone = result == -ENOENT && pending->event.tag[0] &&
                                   (!pending->event.has_digest || pending->event.kind == HOOK_DELETE);
                return write_verdict(d, pending, &none, err);
        }
        if (result != -ENOENT)
                hook_log(HOOK_LOG_WARNING, "%s/%s: %s; asking again later", pending->event.host,
                         pending->event.repository, reason->message);
        return hook_db_write(d->options.db, hook_queue_postpone, &postponed, err);
}

static char *find_silent(struct hook_deciders *d, const char *host) {
        for (size_t i = 0; i < SILENT_MAX; i++)
                if (strcmp(d->silent[i], host) == 0)
                        return d->silent[i];
        return NULL;
}

static void note_silence(struct hook_deciders *d, const char *host, bool is_silent) {
        pthread_mutex_lock(&d->lock);
        char *slot = find_silent(d, host);
        bool was_silent = slot;
        if (is_silent && !was_silent) {
                slot = find_silent(d, "");
                if (!slot) { /* as many as are kept: one of them is forgotten */
                        slot = d->silent[d->silent_next];
                        d->silent_next = (d->silent_next + 1) % SILENT_MAX;
                }
                strcpy(slot, host);
        } else if (!is_silent && was_silent) {
                slot[0] = '\0';
        }
        if (is_silent != was_silent) {
                d->wakes++; /* more events may be decided at a time now: its own, or those of who was forgotten */
                pthread_cond_broadcast(&d->wake);
        }
        pthread_mutex_unlock(&d->lock);
}

/* Whether the registry said so: one that is asked much, or in vain for one repository, is not silent. */
static bool is_answer(int r) {
        return r == 0 || r == -ENOENT || r == -EACCES || r == -EPERM || r == -EBADMSG || r == -EINVAL || r == -ENOTSUP;
}

static int decide_with_auths(struct hook_deciders *d, const struct hook_config *config,
                             const struct hook_pending *pending, struct hook_decision *out, struct zp_error *err) {
        char *auths = NULL;
        int r = hook_queue_event_auths(hook_db_begin_read(d->options.db), pending->id, &auths, err);
        hook_db_end_read(d->options.db);
        int64_t began_ms = hook_monotonic_ms();
        if (r == 0) {
                r = hook_decide(config, &pending->event, auths, &d->cancel, NULL, out, err);
                bool has_answered = is_answer(r) || hook_monotonic_ms() - began_ms < HOOK_SLOW_MS;
                note_silence(d, pending->event.host, !has_answered);
        }
        zp_secret_free(auths);
        return r;
}

static int decide(struct hook_deciders *d, struct hook_pending *pending, struct zp_error *err) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(d->options.current);
        struct hook_decision decision = { 0 };
        struct zp_error reason = { 0 };
        int r = 0;
        if (!pending->event.tag[0] && (pending->event.kind == HOOK_DELETE || !pending->event.has_digest))
                snprintf(decision.text, sizeof decision.text, "deleted"); /* what is gone, the next survey finds */
        else
                r = decide_with_auths(d, config, pending, &decision, &reason);
        if (zp_cancelled(&d->cancel))
                r = 0;
        else
                r = r < 0 ? postpone(d, pending, r, &reason, err) : write_verdict(d, pending, &decision, err);
        hook_decision_clear(&decision);
        return r;
}

/* ---- the threads ---- */

/* With the lock held. Whoever ends an event takes the next: what a silent registry's event kept out has its turn. */
static int limit_of(const void *context, const char *host) {
        struct hook_deciders *d = (struct hook_deciders *) context;
        int of_silent = 0;
        if (!find_silent(d, host))
                return THREADS_OF_ONE;
        for (size_t i = 0; i < d->busy_count; i++)
                of_silent += find_silent(d, d->busy[i].host) != NULL;
        return of_silent < THREADS_OF_ALL_SILENT ? THREADS_OF_SILENT : 0;
}

static bool take(struct hook_deciders *d, struct hook_pending *out, int64_t *next_ms) {
        struct zp_error err = { 0 };
        const struct hook_busy busy = { d->busy, d->busy_count, limit_of, d };
        *next_ms = 0;
        int r = hook_queue_next_event(hook_db_begin_read(d->options.db), hook_now_ms(), &busy, out, next_ms, &err);
        hook_db_end_read(d->options.db);
        if (r < 0) {
                hook_log(HOOK_LOG_ERROR, "%s", err.message);
                *next_ms = hook_now_ms() + TROUBLE_MS;
        }
        if (r != 1)
                return false;
        struct hook_busy_event *taken = &d->busy[d->busy_count++];
        taken->id = out->id;
        strcpy(taken->host, out->event.host);
        return true;
}

static void give_back(struct hook_deciders *d, int64_t id) {
        for (size_t i = 0; i < d->busy_count; i++)
                if (d->busy[i].id == id) {
                        d->busy[i] = d->busy[--d->busy_count];
                        break;
                }
}

/* Until somebody says that there is more, or the next is due. */
static void wait_for_more(struct hook_deciders *d, uint64_t wakes, int64_t until_ms) {
        struct timespec until;
        while (!zp_cancelled(&d->cancel) && d->wakes == wakes) {
                if (!until_ms) {
                        pthread_cond_wait(&d->wake, &d->lock);
                        continue;
                }
                until = (struct timespec){ until_ms / 1000, until_ms % 1000 * 1000000 };
                if (pthread_cond_timedwait(&d->wake, &d->lock, &until) == ETIMEDOUT)
                        break;
        }
}

static void *work(void *context) {
        struct hook_deciders *d = context;
        setpriority(PRIO_PROCESS, (id_t) gettid(), NICE); /* answering registries comes first */
        pthread_mutex_lock(&d->lock);
        while (!zp_cancelled(&d->cancel)) {
                struct hook_pending pending;
                int64_t next_ms;
                uint64_t wakes = d->wakes;
                if (!take(d, &pending, &next_ms)) {
                        wait_for_more(d, wakes, next_ms);
                        continue;
                }
                pthread_mutex_unlock(&d->lock);
                struct zp_error err = { 0 };
                int r = decide(d, &pending, &err);
                pthread_mutex_lock(&d->lock);
                give_back(d, pending.id);
                if (r < 0) {
                        hook_log(HOOK_LOG_ERROR, "%s; trying again", err.message);
                        wait_for_more(d, d->wakes, hook_now_ms() + TROUBLE_MS);
                }
        }
        pthread_mutex_unlock(&d->lock);
        return NULL;
}

int hook_deciders_new(const struct hook_deciders_options *options, struct hook_deciders **out, struct zp_error *err) {
        struct hook_deciders *d = calloc(1, sizeof *d);
        if (!d)
                return zp_error_errno(err, ENOMEM, "deciders");
        d->options = *options;
        pthread_mutex_init(&d->lock, NULL);
        pthread_cond_init(&d->wake, NULL);
        for (; d->thread_count < THREADS; d->thread_count++) {
                int code = pthread_create(&d->threads[d->thread_count], NULL, work, d);
                if (code) {
                        hook_deciders_free(d);
                        return zp_error_errno(err, code, "start a thread");
                }
        }
        *out = d;
        return 0;
}

void hook_deciders_wake(struct hook_deciders *d) {
        pthread_mutex_lock(&d->lock);
        d->wakes++;
        pthread_cond_broadcast(&d->wake);
        pthread_mutex_unlock(&d->lock);
}

void hook_deciders_free(struct hook_deciders *d) {
        atomic_store(&d->cancel.requested, true);
        hook_deciders_wake(d);
        for (size_t i = 0; i < d->thread_count; i++)
                pthread_join(d->threads[i], NULL);
        pthread_cond_destroy(&d->wake);
        pthread_mutex_destroy(&d->lock);
        free(d);
}
