/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/events.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "controller/kube/event-series.h"
#include "controller/kube/kube-internal.h"
#include "controller/kube/lease-record.h"
#include "controller/kube/thread.h"

#define WAITING_MAX 1000
#define NOTE_MAX 1000u
#define NAME_MAX_BYTES 220 /* of the object's, in the event's; 253 together */
#define TICK_MS 5000u
#define FAREWELL_MS 2000u

static const struct zp_kube_resource resource = { "events.k8s.io/v1", "events" };

struct item {
        struct item *next;
        struct zp_kube_event event; /* its strings are in `text` */
        char text[];
};

struct zp_kube_events {
        struct zp_kube_events_options options;
        struct zp_kube_bell bell;
        pthread_t thread;
        pthread_mutex_t lock; /* guards the next four */
        struct item *first, **last;
        unsigned waiting;
        bool is_stopping;
        atomic_ullong sent, dropped, failed;
        struct zp_kube_series_table series; /* the thread's own */
        uint64_t latest_ms;                 /* when it must have ended; 0: not yet */
};

/* ---- posting ---- */

static size_t fill(char *text, size_t at, const char *source, size_t limit, const char **out) {
        size_t size = strlen(source ? source : "");
        if (size > limit) {
                size = limit;
                while (size > 0 && ((unsigned char) source[size] & 0xc0) == 0x80) /* within a character */
                        size--;
        }
        if (text) {
                memcpy(text + at, source ? source : "", size);
                text[at + size] = '\0';
                *out = text + at;
        }
        return at + size + 1;
}

/* Copies the strings behind each other; with `item` NULL only counts. */
static size_t copy_event(const struct zp_kube_event *event, struct item *item) {
        struct zp_kube_event ignored, *out = item ? &item->event : &ignored;
        char *text = item ? item->text : NULL;
        size_t at = fill(text, 0, event->api_version, 256, &out->api_version);
        at = fill(text, at, event->kind, 128, &out->kind);
        at = fill(text, at, event->namespace, 256, &out->namespace);
        at = fill(text, at, event->name, 256, &out->name);
        at = fill(text, at, event->uid, 256, &out->uid);
        at = fill(text, at, event->action, 128, &out->action);
        at = fill(text, at, event->reason, 128, &out->reason);
        at = fill(text, at, event->note, NOTE_MAX, &out->note);
        out->is_warning = event->is_warning;
        return at;
}

void zp_kube_events_post(struct zp_kube_events *events, const struct zp_kube_event *event) {
        struct item *item = calloc(1, sizeof *item + copy_event(event, NULL));
        if (item)
                copy_event(event, item);
        pthread_mutex_lock(&events->lock);
        bool has_room = item && events->waiting < WAITING_MAX && !events->is_stopping;
        if (has_room) {
                *events->last = item;
                events->last = &item->next;
                events->waiting++;
        }
        pthread_mutex_unlock(&events->lock);
        if (has_room) {
                zp_kube_bell_ring(&events->bell);
                return;
        }
        free(item);
        atomic_fetch_add(&events->dropped, 1);
}

static struct item *pop(struct zp_kube_events *events) {
        pthread_mutex_lock(&events->lock);
        struct item *item = events->first;
        if (item) {
                events->first = item->next;
                events->waiting--;
                if (!events->first)
                        events->last = &events->first;
        }
        pthread_mutex_unlock(&events->lock);
        return item;
}

/* ---- sending ---- */

/* A string for JSON, whatever bytes it has. */
static json_t *text_of(const char *text) {
        json_t *json = json_string(text);
        if (json)
                return json;
        zp_autofree char *copy = strdup(text);
        for (char *c = copy; c && *c; c++)
                if ((unsigned char) *c >= 0x80)
                        *c = '?';
        return copy ? json_string(copy) : NULL;
}

static json_t *make_regarding(const struct zp_kube_event *event) {
        json_t *regarding = json_pack("{s:s, s:s, s:s, s:s}", "apiVersion", event->api_version, "kind", event->kind,
                                      "name", event->name, "uid", event->uid);
        if (regarding && event->namespace[0])
                json_object_set_new(regarding, "namespace", json_string(event->namespace));
        return regarding;
}

static json_t *make_object(const struct zp_kube_events *events, const struct zp_kube_event *event,
                           const char *namespace, const char *name) {
        char now[KUBE_MICRO_TIME_SIZE];
        return json_pack("{s:s, s:s, s:{s:s, s:s}, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "apiVersion",
                         resource.api_version, "kind", "Event", "metadata", "namespace", namespace, "name", name,
                         "eventTime", zp_kube_micro_time(now), "reportingController", events->options.controller,
                         "reportingInstance", events->options.instance, "action", event->action, "reason",
                         event->reason, "type", event->is_warning ? "Warning" : "Normal", "regarding",
                         make_regarding(event), "note", text_of(event->note));
}

static void count(struct zp_kube_events *events, int result, const struct zp_error *err) {
        atomic_fetch_add(result < 0 ? &events->failed : &events->sent, 1);
        if (result < 0)
                zp_notice_tell(&events->options.notice, "event not sent: %s", err->message);
}

/* When all is cancelled while one is under way, that one is sent again, as what still waits is: within two seconds. */
static int call(struct zp_kube_events *events, struct zp_kube_request *request, struct zp_error *err) {
        if (!request->body)
                return zp_error_errno(err, ENOMEM, "event");
        request->is_farewell = events->latest_ms;
        request->is_anybodys = true;
        int r = zp_kube_call(events->options.kube, request, NULL, err);
        if (r != -ECANCELED || events->latest_ms)
                return r;
        events->latest_ms = zp_clock_ms() + FAREWELL_MS;
        request->is_farewell = true;
        zp_error_clear(err);
        return zp_kube_call(events->options.kube, request, NULL, err);
}

/* Tells the server how often it has been. False: the event is not there any more. */
static bool send_series(struct zp_kube_events *events, struct zp_kube_series *series) {
        char now[KUBE_MICRO_TIME_SIZE];
        struct zp_error err = { 0 };
        zp_auto(json_decref) json_t *body = json_pack("{s:{s:i, s:s}}", "series", "count", (int) series->count,
                                                      "lastObservedTime", zp_kube_micro_time(now));
        struct zp_kube_request request = {
                .place = { .resource = resource, .namespace = series->namespace, .name = series->name },
                .method = "PATCH",
                .content_type = "application/merge-patch+json",
                .body = body,
        };
        int r = call(events, &request, &err);
        series->is_dirty = false;
        series->sent_ms = zp_clock_ms();
        if (r == -ENOENT)
                return false;
        count(events, r, &err);
        return true;
}

static void send_new(struct zp_kube_events *events, const struct zp_kube_event *event, const char *key) {
        const char *namespace = event->namespace[0] ? event->namespace : "default";
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        zp_autofree char *name =
                zp_format("%.*s.%llx", NAME_MAX_BYTES, event->name,
                          (unsigned long long) now.tv_sec * 1000000000 + (unsigned long long) now.tv_nsec);
        zp_auto(json_decref) json_t *body = name ? make_object(events, event, namespace, name) : NULL;
        struct zp_kube_request request = { .place = { .resource = resource, .namespace = namespace },
                                           .method = "POST",
                                           .body = body };
        struct zp_error err = { 0 };
        int r = call(events, &request, &err);
        count(events, r, &err);
        if (r == 0)
                zp_kube_series_begin(&events->series, key, namespace, name, zp_clock_ms());
}

static void send_item(struct zp_kube_events *events, const struct zp_kube_event *event) {
        zp_autofree char *key = zp_format("%s\n%d\n%s\n%s\n%s", event->uid[0] ? event->uid : event->name,
                                          event->is_warning, event->action, event->reason, event->note);
        uint64_t now_ms = zp_clock_ms();
        struct zp_kube_series *series = key ? zp_kube_series_repeat(&events->series, key, now_ms) : NULL;
        if (series && (!zp_kube_series_is_due(series, now_ms) || send_series(events, series)))
                return;
        if (series)
                zp_kube_series_end(&events->series, series);
        if (key && zp_kube_series_allow(&events->series, event->uid[0] ? event->uid : event->name, now_ms))
                send_new(events, event, key);
        else
                atomic_fetch_add(&events->dropped, 1);
}

/* ---- the thread ---- */

static bool is_over(const struct zp_kube_events *events) {
        return events->latest_ms && zp_clock_ms() >= events->latest_ms;
}

static void send_due_series(struct zp_kube_events *events) {
        for (size_t i = 0; i < events->series.series_count && !is_over(events); i++) {
                struct zp_kube_series *series = &events->series.series[i];
                bool is_due = series->is_dirty && (events->latest_ms || zp_kube_series_is_due(series, zp_clock_ms()));
                if (is_due && !send_series(events, series))
                        zp_kube_series_end(&events->series, series);
        }
}

static bool look_for_stop(struct zp_kube_events *events) {
        pthread_mutex_lock(&events->lock);
        if (events->is_stopping && !events->latest_ms)
                events->latest_ms = zp_clock_ms() + FAREWELL_MS;
        bool is_stopping = events->is_stopping;
        pthread_mutex_unlock(&events->lock);
        return is_stopping;
}

static void *run(void *argument) {
        struct zp_kube_events *events = argument;
        bool is_stopping;
        do {
                zp_kube_bell_wait(&events->bell, zp_clock_ms() + TICK_MS);
                struct item *item;
                is_stopping = look_for_stop(events);
                while ((item = pop(events))) {
                        if (is_over(events))
                                atomic_fetch_add(&events->dropped, 1);
                        else
                                send_item(events, &item->event);
                        free(item);
                        is_stopping = look_for_stop(events);
                }
                send_due_series(events);
        } while (!is_stopping);
        return NULL;
}

int zp_kube_events_start(const struct zp_kube_events_options *options, struct zp_kube_events **out,
                         struct zp_error *err) {
        zp_autofree struct zp_kube_events *events = calloc(1, sizeof *events);
        if (!events)
                return zp_error_errno(err, ENOMEM, "events");
        events->options = *options;
        events->last = &events->first;
        pthread_mutex_init(&events->lock, NULL);
        zp_kube_bell_init(&events->bell);
        int r = zp_kube_thread_start(&events->thread, run, events, "events", err);
        if (r < 0) {
                zp_kube_bell_clear(&events->bell);
                pthread_mutex_destroy(&events->lock);
                return r;
        }
        *out = zp_steal(&events);
        return 0;
}

void zp_kube_events_stop(struct zp_kube_events *events) {
        pthread_mutex_lock(&events->lock);
        events->is_stopping = true;
        pthread_mutex_unlock(&events->lock);
        zp_kube_bell_ring(&events->bell);
        pthread_join(events->thread, NULL);
        zp_kube_bell_clear(&events->bell);
        pthread_mutex_destroy(&events->lock);
        zp_kube_series_clear(&events->series);
        free(events);
}

struct zp_kube_events_statistics zp_kube_events_statistics(struct zp_kube_events *events) {
        return (struct zp_kube_events_statistics){
                .sent = atomic_load(&events->sent),
                .dropped = atomic_load(&events->dropped),
                .failed = atomic_load(&events->failed),
        };
}
