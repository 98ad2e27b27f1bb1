/* SPDX-License-Identifier: Apache-2.0
 *
 * The durable queue: events wait until it is decided what they lead to, builds wait until they are run. A build is
 * named by its image's manifest digest (one platform) and where its snapshot goes; there is never more than one of a
 * name that is queued or running, and none where the snapshot is published already.
 *
 *     queued ─▶ running ─▶ done
 *       ▲ │        ├─────▶ failed       for good, or after QUEUE_ATTEMPTS_MAX attempts
 *       │ │        └─▶ queued           to be tried again, or the service died
 *       │ ├─▶ cancelled                 so does running, when somebody asks
 *       │ └─▶ superseded                every tag that asked for it names another image now; so does running that is to
 *       │                               be tried again, or whose rule is gone: then it is decided about anew
 *       └── failed, cancelled, superseded: when somebody asks to try again
 */
#ifndef HOOK_QUEUE_H
#define HOOK_QUEUE_H

#include "registry-hook/db.h"
#include "registry-hook/event.h"

#define QUEUE_ATTEMPTS_MAX 5
/* What a build may say of itself that is kept. */
#define QUEUE_LOG_MAX 65536
#define QUEUE_REASON_SIZE 512
#define QUEUE_TARGET_SIZE 1024
#define QUEUE_NAME_SIZE 128
#define QUEUE_PLATFORM_SIZE 100
/* By one decision: a tag's image has a few platforms. */
#define QUEUE_SUPERSEDED_MAX 64

/* ---- events: queue-events.c, and queue-decisions.c what becomes of them ---- */

/* One delivery's events on their way to the disk. */
struct hook_delivery {
        const struct hook_event *events; /* until `done` */
        size_t count;
        const char *source;       /* the endpoint; with an event's id it names the delivery */
        const char *requested_by; /* who asked: an endpoint's or a token's name, "reconcile" */
        bool is_forced;           /* build again what is published */
        const char *auths;        /* auths.h; NULL: none came with it */
        int64_t now_ms;
        size_t stored;   /* how many were new; set before `done`, as is: */
        int64_t last_id; /* the number of the last event, stored now or waiting already; 0: all were replays */
};
int hook_queue_accept(sqlite3 *db, void *delivery, struct zp_error *err); /* a hook_db_job.work */

struct hook_pending {
        int64_t id;
        struct hook_event event;
        char requested_by[QUEUE_NAME_SIZE]; /* "A, B" when several did */
        bool is_forced;
        int attempts;
        int64_t version; /* the same news came again meanwhile: what is decided from the old is not the last word */
};
/* What is being decided about. */
struct hook_busy {
        const struct hook_busy_event {
                int64_t id;
                char host[HOOK_HOST_SIZE];
        } * events;
        size_t count;
        int (*limit)(const void *context, const char *host); /* of how many of its events at a time; 0: none */
        const void *context;
};
/* The event that has been due for longest, of those that are not busy, nor of a registry at its limit. 1: *out is
 * filled, 0: there is none. *next_ms: when the next will be due, when that is known; 0: unknown. */
int hook_queue_next_event(sqlite3 *db, int64_t now_ms, const struct hook_busy *busy, struct hook_pending *out,
                          int64_t *next_ms, struct zp_error *err);

/* One image that the event leads to. */
struct hook_wanted {
        char digest[ZP_DIGEST_TEXT_SIZE];
        char platform[QUEUE_PLATFORM_SIZE];
        char target[QUEUE_TARGET_SIZE];
        char rule[QUEUE_NAME_SIZE];
        int priority;
        uint64_t image_size;                                                    /* compressed layers, bytes */
        enum hook_outcome { HOOK_QUEUED, HOOK_JOINED, HOOK_PUBLISHED } outcome; /* set by hook_queue_decide */
        int64_t build;                                                          /* as is this */
};
struct hook_verdict {
        const struct hook_pending *pending;
        struct hook_wanted *wanted;
        size_t wanted_count;
        const char *text;    /* one line for people */
        const char *problem; /* "absent": the registry has no such image, "failed": it did not say, "broken": an image
                              * can never be built as it is; NULL: none */
        const char *tag_digest; /* what the event's tag names now; NULL: another image, or there is no tag */
        bool is_tag_gone;       /* the event's tag names nothing */
        int64_t look_again_ms;  /* when to ask again what the tag names; 0: no need */
        int64_t now_ms;
        int64_t superseded[QUEUE_SUPERSEDED_MAX]; /* builds; set by hook_queue_decide, as is: */
        size_t superseded_count;                  /* those beyond are not told of */
};
/* Takes the event out, queues the builds, notes what the tag names, and forgets what it led to before. When the same
 * news came again meanwhile the event stays, and nobody who waits for it is told of this verdict. A hook_db_write's
 * work. */
int hook_queue_decide(sqlite3 *db, void *verdict, struct zp_error *err);

struct hook_postponed {
        const struct hook_pending *pending;
        int64_t not_before_ms;
        const char *reason;
};
int hook_queue_postpone(sqlite3 *db, void *postponed, struct zp_error *err);

/* The auths that came with an event, and that a build is to have: malloc'ed, NULL: none. */
int hook_queue_event_auths(sqlite3 *db, int64_t event, char **out, struct zp_error *err);
int hook_queue_build_auths(sqlite3 *db, int64_t build, char **out, struct zp_error *err);

/* ---- builds: queue-builds.c ---- */

struct hook_build {
        int64_t id;
        char host[HOOK_HOST_SIZE], repository[HOOK_REPOSITORY_SIZE];
        char digest[ZP_DIGEST_TEXT_SIZE], platform[QUEUE_PLATFORM_SIZE], target[QUEUE_TARGET_SIZE];
        char rule[QUEUE_NAME_SIZE];
        int attempts; /* those that ended */
        bool is_forced;
};
/* What was running when the service died is queued again, if it is still wanted. */
int hook_queue_recover(sqlite3 *db, void *unused, struct zp_error *err);

struct hook_start {
        int64_t now_ms;
        int (*limit)(const void *context, const char *host); /* how many builds of its images may run at a time */
        const void *context;
        struct hook_build build; /* set when `is_found` */
        bool is_found;
        int64_t next_ms; /* when one that is postponed becomes due; 0: none is */
};
/* Starts the build of the highest priority, the oldest first, of a registry that is not at its limit. One whose earlier
 * snapshot is being removed waits for that. */
int hook_queue_start(sqlite3 *db, void *start, struct zp_error *err);

struct hook_end {
        const struct hook_build *build;
        /* HOOK_RULE_GONE: it did not run, and the rules are asked again about whatever it was wanted for */
        enum hook_end_kind { HOOK_DONE, HOOK_RETRY, HOOK_FAILED, HOOK_CANCELLED, HOOK_RULE_GONE } kind;
        const char *reason; /* of whatever is not done */
        const char *result; /* the builder's JSON; "" */
        const char *log;
        const char *artifact; /* of done: the snapshot's digest */
        uint64_t snapshot_size, sent_size;
        double seconds;
        int64_t now_ms;
        const char *state; /* what it is now; set by hook_queue_end, as is: */
        int64_t wait_ms;   /* until it is tried again; 0: it is not */
};
int hook_queue_end(sqlite3 *db, void *end, struct zp_error *err);
/* How long to wait after so many attempts: 10 s, doubled each time, an hour at most. */
int64_t hook_queue_backoff_ms(int attempts);

/* The latest published snapshot of the same repository and platform; "" when there is none. */
int hook_queue_previous(sqlite3 *db, const struct hook_build *build, char digest[ZP_DIGEST_TEXT_SIZE],
                        struct zp_error *err);

/* Somebody's wish for one build. -ENOENT: no such build; -EBUSY: its state does not allow it, another of the same
 * name is queued, or others want it. */
struct hook_wish {
        int64_t id, now_ms;
        const char *who; /* cancel: only what nobody else asked for; NULL: whatever it is */
        bool is_running; /* set by cancel: it runs, and whoever runs it must end it */
};
int hook_queue_cancel(sqlite3 *db, void *wish, struct zp_error *err);
/* Whether `who` (as in a wish) may cancel a build that waits or runs, and that `requested_by` asked for. */
bool hook_queue_may_cancel(const char *requested_by, const char *who);
int hook_queue_retry(sqlite3 *db, void *wish, struct zp_error *err);

/* Forgets finished builds beyond `keep`, or older than `age_ms`, and old decisions and deliveries. */
struct hook_history {
        int64_t now_ms, age_ms, keep;
};
int hook_queue_forget(sqlite3 *db, void *history, struct zp_error *err);

#endif
