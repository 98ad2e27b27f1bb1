/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/pods.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "controller/kube/events.h"
#include "controller/kube/reflector.h"
#include "controller/node/bound.h"
#include "controller/node/child.h"
#include "controller/log.h"
#include "controller/node/verdict.h"
#include "oci/json.h"

#define STATUS_TIMEOUT_S 30
#define NOTE_SIZE 1000
#define SINCE_MAX 64
/* Containers of one pod begin one after the other. */
#define GATHER_MS 1000
/* A container that is not found so many times is gone. */
#define LOOKS_MAX 5

struct node_pods {
        const struct node_options *options;
        struct node_bound *bound;
        char *query, *since_path;
        struct zp_kube_reflector *reflector;
        struct zp_kube_events *events;
        pthread_t thread;
        pthread_mutex_t lock; /* guards all below */
        json_t *known;        /* a pod's uid to the ids of its containers that wait or were judged: {id: true} */
        json_t *waiting;      /* id to what node_containers_add() says */
        char since[SINCE_MAX + 1];
};

static void complain(const struct zp_error *err) {
        if (err->code != ECANCELED)
                ctl_log(CTL_LOG_WARNING, "pods: %s", err->message);
}

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* ---- what begins ---- */

/* Caller holds the lock. NULL: no memory. */
static json_t *known_of(struct node_pods *p, const char *uid) {
        json_t *known = json_object_get(p->known, uid);
        if (!known && json_object_set_new(p->known, uid, known = json_object()) < 0)
                return NULL;
        return known;
}

/* Those of its containers that have begun wait to be judged. */
static int judge_later(struct node_pods *p, enum zp_kube_change change, const char *uid, json_t *object,
                       struct zp_error *err) {
        zp_auto(json_decref) json_t *begun = json_object();
        const char *id;
        json_t *container;
        int r = begun ? 0 : zp_error_errno(err, ENOMEM, "pods");
        pthread_mutex_lock(&p->lock);
        json_t *known = change == ZP_KUBE_DELETED ? NULL : known_of(p, uid);
        if (change == ZP_KUBE_DELETED)
                json_object_del(p->known, uid);
        else if (r == 0 && !known)
                r = zp_error_errno(err, ENOMEM, "pods");
        else if (r == 0)
                r = node_containers_add(object, p->since, known, begun, err);
        json_object_foreach(begun, id, container) {
                json_object_set_new(known, id, json_true());
                json_object_set(p->waiting, id, container);
        }
        pthread_mutex_unlock(&p->lock);
        return r;
}

static void pod_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object) {
        struct node_pods *p = context;
        struct zp_error err = { 0 };
        int r = 0;
        if (p->bound && change == ZP_KUBE_DELETED)
                node_bound_drop(p->bound, key->uid);
        else if (p->bound)
                r = node_bound_put(p->bound, object, &err);
        if (r == 0 && p->options->tells_pods)
                r = judge_later(p, change, key->uid, object, &err);
        if (r < 0)
                complain(&err);
}

static void pods_synced(void *context) {
        struct node_pods *p = context;
        if (p->bound)
                node_bound_synced(p->bound);
}

static void troubled(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms) {
        (void) context;
        (void) retry_ms;
        if (failures == 1)
                complain(reason);
}

/* ---- what is told ---- */

static void tell(struct node_pods *p, json_t *container, enum node_verdict verdict, const char *note) {
        bool is_bad = verdict == NODE_NOT_ACCELERATED && json_is_true(json_object_get(container, "required"));
        const struct zp_kube_event event = { .api_version = "v1",
                                             .kind = "Pod",
                                             .namespace = text(container, "namespace"),
                                             .name = text(container, "pod"),
                                             .uid = text(container, "uid"),
                                             .is_warning = is_bad,
                                             .action = "Start",
                                             .reason = verdict == NODE_ACCELERATED ? "Accelerated" : "NotAccelerated",
                                             .note = note };
        zp_kube_events_post(p->events, &event);
}

static int read_status(const struct node_options *options, json_t **status, struct zp_error *err) {
        const char *argv[] = { options->zeropull, "status",       "--json",   "--root",        options->root,
                               "--store",         options->store, "--config", options->config, NULL };
        node_autooutcome struct node_outcome outcome = { 0 };
        if (!options->config)
                argv[7] = NULL;
        const struct node_run run = { .argv = argv, .timeout_s = STATUS_TIMEOUT_S, .cancel = options->cancel };
        int r = node_run(&run, &outcome, err);
        if (r == 0 && outcome.exit_code != 0)
                r = zp_error_set(err, EIO, "%s", outcome.reason);
        json_error_t error;
        if (r == 0 && !(*status = json_loadb(outcome.output.data, outcome.output.size, 0, &error)))
                r = zp_error_set(err, EBADMSG, "zeropull status: %s", error.text);
        return r;
}

/* Judges those that wait; who is not in the status is looked for again. Returns the latest start among them. */
static void judge_all(struct node_pods *p, json_t *waiting, json_t *status) {
        const char *id;
        json_t *container;
        char since[SINCE_MAX + 1] = "";
        json_object_foreach(waiting, id, container) {
                char note[NOTE_SIZE];
                enum node_verdict verdict = node_judge(status, id, container, note, sizeof note);
                json_int_t looks = json_integer_value(json_object_get(container, "looks")) + 1;
                if (verdict != NODE_UNKNOWN)
                        tell(p, container, verdict, note);
                if (strcmp(text(container, "started"), since) > 0)
                        snprintf(since, sizeof since, "%s", text(container, "started"));
                if (verdict != NODE_UNKNOWN || looks >= LOOKS_MAX)
                        continue;
                json_object_set_new(container, "looks", json_integer(looks));
                pthread_mutex_lock(&p->lock);
                json_object_set(p->waiting, id, container);
                pthread_mutex_unlock(&p->lock);
        }
        struct zp_error err = { 0 };
        if (since[0] && zp_replace_file(AT_FDCWD, p->since_path, since, strlen(since), 0600, &err) < 0)
                complain(&err);
}

static void put_back(struct node_pods *p, json_t *waiting) {
        pthread_mutex_lock(&p->lock);
        json_object_update_missing(p->waiting, waiting);
        pthread_mutex_unlock(&p->lock);
}

static void *work(void *context) {
        struct node_pods *p = context;
        while (!zp_cancelled(p->options->cancel)) {
                struct timespec pause = { .tv_sec = GATHER_MS / 1000, .tv_nsec = GATHER_MS % 1000 * 1000000 };
                struct zp_error err = { 0 };
                nanosleep(&pause, NULL);
                pthread_mutex_lock(&p->lock);
                zp_auto(json_decref) json_t *waiting = p->waiting, *status = NULL;
                p->waiting = json_object();
                pthread_mutex_unlock(&p->lock);
                if (json_object_size(waiting) == 0)
                        continue;
                if (read_status(p->options, &status, &err) < 0) {
                        complain(&err);
                        put_back(p, waiting);
                        continue;
                }
                judge_all(p, waiting, status);
        }
        return NULL;
}

/* ---- its life ---- */

static void read_since(struct node_pods *p) {
        zp_autofree char *since = NULL;
        size_t size;
        if (zp_read_file(AT_FDCWD, p->since_path, SINCE_MAX, &since, &size, NULL) == 0)
                snprintf(p->since, sizeof p->since, "%s", since);
        else
                zp_kube_time_now(p->since);
}

static void tell_trouble(void *context, const char *line) {
        (void) context;
        ctl_log(CTL_LOG_WARNING, "events: %s", line);
}

static int begin(struct node_pods *p, struct zp_error *err) {
        zp_autofree char *name = zp_kube_escape(p->options->node);
        const struct zp_kube_events_options events = { .kube = p->options->kube,
                                                       .controller = "zeropull.dev/node",
                                                       .instance = p->options->node,
                                                       .notice = { tell_trouble, NULL } };
        p->query = name ? zp_format("fieldSelector=spec.nodeName%%3D%s", name) : NULL;
        p->since_path = zp_format("%s/node-agent-since", p->options->root);
        p->known = json_object();
        p->waiting = json_object();
        if (!p->query || !p->since_path || !p->known || !p->waiting)
                return zp_error_errno(err, ENOMEM, "pods");
        read_since(p);
        int r = zp_kube_events_start(&events, &p->events, err);
        const struct zp_kube_reflector_options options = { .kube = p->options->kube,
                                                           .place = { .resource = { "v1", "pods" } },
                                                           .query = p->query,
                                                           .watcher = { pod_changed, pods_synced, troubled, p },
                                                           .cancel = p->options->cancel };
        if (r == 0)
                r = zp_kube_reflector_start(&options, &p->reflector, err);
        return r;
}

static void clear(struct node_pods *p) {
        if (p->reflector)
                zp_kube_reflector_stop(p->reflector);
        if (p->events)
                zp_kube_events_stop(p->events);
        pthread_mutex_destroy(&p->lock);
        json_decref(p->known);
        json_decref(p->waiting);
        free(p->query);
        free(p->since_path);
        free(p);
}

int node_pods_start(const struct node_options *options, struct node_bound *bound, struct node_pods **out,
                    struct zp_error *err) {
        struct node_pods *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "pods");
        p->options = options;
        p->bound = bound;
        pthread_mutex_init(&p->lock, NULL);
        int r = begin(p, err);
        if (r == 0 && (r = -pthread_create(&p->thread, NULL, work, p)) < 0)
                r = zp_error_errno(err, -r, "pods: a thread");
        if (r < 0)
                clear(p);
        else
                *out = p;
        return r;
}

void node_pods_stop(struct node_pods *p) {
        pthread_join(p->thread, NULL);
        clear(p);
}
