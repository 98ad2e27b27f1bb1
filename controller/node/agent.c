/* SPDX-License-Identifier: Apache-2.0
 *
 * The agent's threads: one that watches the object, some that fetch, one that reports.
 */
#include "controller/node/agent.h"

#include <fcntl.h>
#include <pthread.h>
#include <string.h>

#include "base/buffer.h"
#include "base/condition.h"
#include "base/file.h"
#include "controller/kube/apply.h"
#include "controller/kube/reflector.h"
#include "controller/model/names.h"
#include "controller/node/fetch.h"
#include "controller/node/gate.h"
#include "controller/node/images.h"
#include "controller/log.h"
#include "controller/node/pods.h"
#include "controller/node/pullers.h"

#define PARALLELISM_MAX 16
#define STATE_MAX ((size_t) 1 << 20)
/* What happens within this time is reported at once. */
#define GATHER_MS 300
#define RETRY_MS 5000
#define LOOK_MS 500
/* How often a status is written when nothing but how far a fetch is has changed. */
#define PROGRESS_MS 5000

struct agent {
        struct node_options options;
        struct zp_cancel stop;
        char *state_path, *query; /* the reflector's */
        pthread_mutex_t lock;     /* guards all below */
        pthread_cond_t news;
        struct node_images *images;
        bool has_object, is_synced, is_dirty;
        bool is_moving;       /* there is more of what is being fetched */
        uint64_t reported_ms; /* the status was written last */
        int64_t generation;
        char ready_status, since[ZP_KUBE_TIME_SIZE]; /* of the condition Ready: 'T', 'F'; since when */
};

static const struct zp_kube_resource caches = { CTL_API_VERSION, "nodesnapshotcaches" };

static void complain(const struct zp_error *err) {
        if (err->code != ECANCELED)
                ctl_log(CTL_LOG_WARNING, "%s", err->message);
}

/* Caller holds the lock. */
static void wait_ms(struct agent *a, uint64_t ms) {
        zp_condition_wait_until(&a->news, &a->lock, zp_monotonic_ms() + ms);
}

/* ---- what is its own, over restarts ---- */

static int load_state(struct agent *a, struct zp_error *err) {
        zp_autofree char *text = NULL;
        zp_auto(json_decref) json_t *state = NULL;
        size_t size;
        int r = zp_read_file(AT_FDCWD, a->state_path, STATE_MAX, &text, &size, err);
        if (r == -ENOENT) {
                zp_error_clear(err);
                return 0;
        }
        if (r == 0)
                r = zp_json_load(text, size, a->state_path, &state, err);
        return r < 0 ? r : node_images_take_own(a->images, json_object_get(state, "images"), err);
}

/* Caller holds the lock: no other may write an older one over it. */
static void save_state(struct agent *a) {
        struct zp_error err = { 0 };
        zp_auto(json_decref) json_t *state = json_pack("{s:O}", "images", node_images_own(a->images));
        zp_autofree char *text = state ? json_dumps(state, JSON_COMPACT) : NULL;
        int r = text ? zp_replace_file(AT_FDCWD, a->state_path, text, strlen(text), 0600, &err)
                     : zp_error_errno(&err, ENOMEM, "state");
        if (r < 0)
                complain(&err);
}

/* ---- the object ---- */

static void object_changed(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object) {
        struct agent *a = context;
        (void) key;
        pthread_mutex_lock(&a->lock);
        a->has_object = change != ZP_KUBE_DELETED;
        json_t *spec = a->has_object ? json_object_get(object, "spec") : NULL;
        bool is_new = !a->has_object || zp_kube_generation(object) != a->generation;
        a->generation = a->has_object ? zp_kube_generation(object) : 0;
        if (is_new) {
                node_images_set(a->images, spec);
                a->is_dirty = true;
                pthread_cond_broadcast(&a->news);
        }
        pthread_mutex_unlock(&a->lock);
}

static void object_synced(void *context) {
        struct agent *a = context;
        pthread_mutex_lock(&a->lock);
        a->is_synced = true;
        pthread_cond_broadcast(&a->news);
        pthread_mutex_unlock(&a->lock);
}

static void troubled(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms) {
        (void) context;
        (void) retry_ms;
        if (failures == 1)
                complain(reason);
}

/* ---- fetching ---- */

static void got(void *context, const struct node_task *task, uint64_t done, uint64_t total) {
        struct agent *a = context;
        pthread_mutex_lock(&a->lock);
        a->is_moving |= node_images_progress(a->images, task, done, total);
        pthread_mutex_unlock(&a->lock);
}

/* Caller holds the lock, which is given up meanwhile. */
static void work_on(struct agent *a, struct node_task *task) {
        const struct node_watcher watcher = { got, a };
        struct node_fetched fetched;
        struct zp_error err = { 0 };
        a->is_dirty = true;
        pthread_cond_broadcast(&a->news);
        pthread_mutex_unlock(&a->lock);
        node_fetch(&a->options, task, &watcher, &fetched);
        pthread_mutex_lock(&a->lock);
        if (zp_cancelled(a->options.cancel) && !fetched.result.is_done)
                return;
        if (fetched.result.is_done)
                ctl_log(CTL_LOG_INFO, "%s: %s", task->image, task->is_removal ? "removed" : "present");
        else
                ctl_log(CTL_LOG_WARNING, "%s: %s: %s", task->image, fetched.result.reason, fetched.result.message);
        if (node_images_done(a->images, task, &fetched.result, zp_monotonic_ms(), &err) < 0)
                complain(&err);
        save_state(a);
        a->is_dirty = true;
        pthread_cond_broadcast(&a->news);
}

static void *fetch_thread(void *context) {
        struct agent *a = context;
        pthread_mutex_lock(&a->lock);
        while (!zp_cancelled(a->options.cancel)) {
                struct node_task task = { 0 };
                struct zp_error err = { 0 };
                uint64_t due_ms;
                int r = a->is_synced ? node_images_next(a->images, zp_monotonic_ms(), &task, &due_ms, &err) : 0;
                if (r < 0)
                        complain(&err);
                if (r == 1)
                        work_on(a, &task);
                else
                        wait_ms(a, LOOK_MS);
                node_task_clear(&task);
        }
        pthread_mutex_unlock(&a->lock);
        return NULL;
}

/* ---- reporting ---- */

static int number(json_t *object, const char *key) {
        return (int) json_integer_value(json_object_get(object, key));
}

static json_t *ready_condition(struct agent *a, json_t *status) {
        int desired = number(status, "desired"), ready = number(status, "ready"), bad = number(status, "failed");
        char message[128], state = ready == desired ? 'T' : 'F';
        const char *reason = ready == desired ? "AllPresent" : bad > 0 ? "SomeFailed" : "Fetching";
        if (desired == 0)
                reason = "NothingWanted";
        snprintf(message, sizeof message, "%d of %d images are here, %d failed", ready, desired, bad);
        if (state != a->ready_status)
                zp_kube_time_now(a->since);
        a->ready_status = state;
        return json_pack("[{s:s, s:s, s:I, s:s, s:s, s:s}]", "type", "Ready", "status", state == 'T' ? "True" : "False",
                         "observedGeneration", (json_int_t) a->generation, "lastTransitionTime", a->since, "reason",
                         reason, "message", message);
}

/* Caller holds the lock. NULL: no memory. */
static json_t *status_object(struct agent *a) {
        json_t *status = node_images_status(a->images);
        if (!status || json_object_set_new(status, "observedGeneration", json_integer(a->generation)) < 0 ||
            json_object_set_new(status, "conditions", ready_condition(a, status)) < 0) {
                json_decref(status);
                return NULL;
        }
        return json_pack("{s:s, s:s, s:{s:s}, s:o}", "apiVersion", CTL_API_VERSION, "kind", "NodeSnapshotCache",
                         "metadata", "name", a->options.node, "status", status);
}

static int report(struct agent *a, json_t *object, struct zp_error *err) {
        const struct zp_kube_apply apply = {
                .place = { .resource = caches, .name = a->options.node, .subresource = "status" },
                .field_manager = NODE_FIELD_MANAGER,
                .is_forced = true
        };
        int r = object ? zp_kube_apply(a->options.kube, &apply, object, NULL, err)
                       : zp_error_errno(err, ENOMEM, "status");
        return r == -ENOENT ? 0 : r; /* it was deleted just now */
}

/* Until it is cancelled. */
static void report_all(struct agent *a) {
        pthread_mutex_lock(&a->lock);
        while (!zp_cancelled(a->options.cancel)) {
                struct zp_error err = { 0 };
                bool is_due = a->is_dirty || (a->is_moving && zp_monotonic_ms() - a->reported_ms >= PROGRESS_MS);
                if (!is_due || !a->is_synced || !a->has_object) {
                        wait_ms(a, LOOK_MS);
                        continue;
                }
                wait_ms(a, GATHER_MS);
                a->is_dirty = a->is_moving = false;
                a->reported_ms = zp_monotonic_ms();
                zp_auto(json_decref) json_t *object = status_object(a);
                pthread_mutex_unlock(&a->lock);
                int r = report(a, object, &err);
                pthread_mutex_lock(&a->lock);
                if (r == 0)
                        continue;
                complain(&err);
                a->is_dirty = true;
                wait_ms(a, RETRY_MS);
        }
        pthread_mutex_unlock(&a->lock);
}

/* ---- its life ---- */

static int watch_object(struct agent *a, struct zp_kube_reflector **out, struct zp_error *err) {
        zp_autofree char *name = zp_kube_escape(a->options.node);
        a->query = name ? zp_format("fieldSelector=metadata.name%%3D%s", name) : NULL;
        const struct zp_kube_reflector_options options = { .kube = a->options.kube,
                                                           .place = { .resource = caches },
                                                           .query = a->query,
                                                           .watcher = { object_changed, object_synced, troubled, a },
                                                           .cancel = a->options.cancel };
        return a->query ? zp_kube_reflector_start(&options, out, err) : zp_error_errno(err, ENOMEM, "agent");
}

static int watch_containers(const struct node_options *o, struct node_nri **out, struct zp_error *err) {
        const struct node_nri_options options = { .path = o->nri,
                                                  .annotation = NODE_POD_ANNOTATION,
                                                  .check = node_gate_check,
                                                  .context = (void *) o->root,
                                                  .cancel = o->cancel };
        return node_nri_start(&options, out, err);
}

static int run_threads(struct agent *a, struct zp_error *err) {
        const struct node_options *o = &a->options;
        zp_auto(zp_kube_reflector_stop) struct zp_kube_reflector *reflector = NULL;
        zp_auto(node_bound_free) struct node_bound *bound = NULL;
        zp_auto(node_pods_stop) struct node_pods *pods = NULL;
        zp_auto(node_pullers_stop) struct node_pullers *pullers = NULL;
        zp_auto(node_nri_stop) struct node_nri *nri = NULL;
        pthread_t threads[PARALLELISM_MAX];
        unsigned count = 0;
        int r = watch_object(a, &reflector, err);
        if (r == 0 && o->socket)
                r = node_bound_new(&bound, err);
        if (r == 0 && (o->tells_pods || bound))
                r = node_pods_start(o, bound, &pods, err);
        if (r == 0 && bound)
                r = node_pullers_start(o->socket, o->kubelet ? o->kubelet : o->kube, bound, &pullers, err);
        if (r == 0 && o->nri)
                r = watch_containers(o, &nri, err);
        while (r == 0 && count < a->options.parallelism && count < PARALLELISM_MAX) {
                r = -pthread_create(&threads[count], NULL, fetch_thread, a);
                count += r == 0;
        }
        if (r == 0)
                report_all(a);
        atomic_store(&a->stop.requested, true);
        for (unsigned i = 0; i < count; i++)
                pthread_join(threads[i], NULL);
        return r;
}

int node_agent_run(const struct node_options *options, struct zp_error *err) {
        struct agent a = { .options = *options, .stop = { .parent = options->cancel } };
        a.options.cancel = &a.stop;
        pthread_mutex_init(&a.lock, NULL);
        zp_condition_init(&a.news);
        a.state_path = zp_format("%s/node-agent.json", options->root);
        int r = a.state_path ? node_images_new(&a.images, err) : zp_error_errno(err, ENOMEM, "agent");
        if (r == 0)
                r = zp_make_directories(options->root, 0700, err);
        if (r == 0)
                r = load_state(&a, err);
        if (r == 0)
                r = run_threads(&a, err);
        node_images_free(a.images);
        free(a.state_path);
        free(a.query);
        pthread_cond_destroy(&a.news);
        pthread_mutex_destroy(&a.lock);
        return r;
}
