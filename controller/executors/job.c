/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds as Jobs of the cluster: one for each, in the namespace of the object that wants it, whose pull secrets are
 * mounted there.
 */
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/siphash.h"
#include "controller/executors/job-object.h"
#include "controller/executors/job-trouble.h"
#include "controller/kube/apply.h"
#include "controller/kube/pod-log.h"
#include "controller/model/time.h"

/* A builder tells two lines a second of its tasks, so that these begin before the last look (CTL_POLL_S). They are cut
 * where they are longer than such lines are. */
#define LOG_LINES 32
#define LOG_MAX (64u << 10)
/* Nobody waits long for what is nice to know: a kubelet that does not answer is not asked for a while, nor is anybody
 * for events. */
#define LOG_TIMEOUT_MS 2000
#define LOG_PAUSE_MS 60000
/* How long a Job may be without a pod, and a pod may take to start, until it is asked why. */
#define PATIENCE_S 5

static const struct zp_kube_resource jobs = { "batch/v1", "jobs" }, pods = { "v1", "pods" };
static const struct zp_kube_resource snapshots = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL };

static const char *objection(const struct ctl_executors *all, const struct ctl_spec *spec) {
        const struct ctl_config *config = all->config;
        const char *const others[] = { spec->target, spec->base_image };
        if (!config->job.image)
                return "builds by Jobs are not configured (section 'job')";
        for (size_t i = 0; i < spec->image_count; i++)
                for (size_t j = 0; j < sizeof others / sizeof *others; j++)
                        if (others[j] &&
                            ctl_job_is_plain_http(config, others[j]) != ctl_job_is_plain_http(config, spec->images[i]))
                                return "a Job speaks plain HTTP to all registries or to none, but the configuration "
                                       "has it differ between images and target or base";
        return NULL;
}

static void name_build(const struct ctl_order *order, char id[CTL_BUILD_ID_SIZE]) {
        ctl_job_name(order, id);
}

static struct zp_kube_place place_of(const struct ctl_order *order, const char *name) {
        return (struct zp_kube_place){ .resource = jobs, .namespace = order->owner->namespace, .name = name };
}

/* ---- looking ---- */

struct newest {
        json_t *pod; /* held */
};

static int take_newest(void *context, json_t *pod, struct zp_error *err) {
        struct newest *newest = context;
        const char *created = json_string_value(json_object_get(json_object_get(pod, "metadata"), "creationTimestamp"));
        const char *other =
                json_string_value(json_object_get(json_object_get(newest->pod, "metadata"), "creationTimestamp"));
        (void) err;
        if (created && other && strcmp(created, other) < 0)
                return 0;
        json_decref(newest->pod);
        newest->pod = json_incref(pod);
        return 0;
}

static bool says_why_not(int error) {
        return error == -EPERM || error == -EINVAL || error == -ENOENT;
}

/* That of the node where it runs. Some nodes share one, and who names them may do worse than choose which. */
static atomic_ullong *pause_of(const struct ctl_executors *all, json_t *pod) {
        static const struct zp_siphash_key key = { { 0 } };
        const char *name = json_string_value(json_object_get(json_object_get(pod, "spec"), "nodeName"));
        return &all->logs_from_ms[zp_siphash(key, name ? name : "", name ? strlen(name) : 0) % CTL_LOG_PAUSES];
}

/* How far a pod that runs is, which is no reason to fail. */
static void look_at_log(const struct ctl_executors *all, const struct ctl_order *order, json_t *pod,
                        struct ctl_build *out) {
        const struct ctl_image *image = order->image;
        const struct zp_kube_log tail = { .namespace = order->owner->namespace,
                                          .pod = zp_kube_name(pod),
                                          .container = CTL_JOB_CONTAINER,
                                          .lines = LOG_LINES,
                                          .limit = LOG_MAX,
                                          .timeout_ms = LOG_TIMEOUT_MS };
        zp_autobuffer struct zp_buffer log = { 0 };
        struct zp_error ignored = { 0 };
        atomic_ullong *from_ms = pause_of(all, pod);
        /* what it said last may be further back than what is read of it, if anything is */
        if (image->phase == CTL_BUILDING && strcmp(image->reason, out->reason) == 0)
                snprintf(out->message, sizeof out->message, "%s", image->message);
        if (zp_clock_ms() < atomic_load(from_ms))
                return;
        int r = zp_kube_log(all->kube, &tail, &log, &ignored);
        if (r < 0 && !says_why_not(r))
                atomic_store(from_ms, zp_clock_ms() + LOG_PAUSE_MS);
        if (r == 0)
                ctl_job_read_log(log.data, log.size, out);
}

/* Why its pod is not there, or does not start. `object`: the pod, or the Job. */
static void look_at_trouble(const struct ctl_executors *all, json_t *object, const struct ctl_image *image,
                            struct ctl_build *out) {
        json_t *metadata = json_object_get(object, "metadata");
        const char *created = json_string_value(json_object_get(metadata, "creationTimestamp"));
        atomic_ullong *from_ms = &all->logs_from_ms[CTL_LOG_PAUSES];
        char note[CTL_MESSAGE_SIZE];
        int64_t since;
        if (!created || !ctl_parse_time(created, &since) || since + PATIENCE_S > ctl_now())
                return;
        bool is_told = false;
        /* what was said before it had a node is no reason any more */
        if (zp_clock_ms() >= atomic_load(from_ms)) {
                is_told = ctl_job_find_trouble(all->kube, object, ctl_job_scheduled_at(object), note);
                if (!is_told)
                        atomic_store(from_ms, zp_clock_ms() + LOG_PAUSE_MS);
        }
        if (!is_told)
                ctl_job_keep_trouble(image, out);
        else if (note[0])
                ctl_job_add_trouble(note, out);
}

static int look(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                struct zp_error *err) {
        const char *name = order->image->build_id;
        const struct zp_kube_place place = place_of(order, name);
        const struct zp_kube_place near = { .resource = pods, .namespace = order->owner->namespace };
        zp_auto(json_decref) json_t *job = NULL;
        struct newest newest = { 0 };
        char query[CTL_JOB_NAME_SIZE + 64];
        *out = (struct ctl_build){ .state = CTL_BUILD_GONE, .progress = -1 };
        snprintf(out->id, sizeof out->id, "%s", name);
        int r = zp_kube_get(all->kube, &place, &job, err);
        if (r == -ENOENT)
                return 0;
        snprintf(query, sizeof query, "labelSelector=job-name%%3D%.63s", name);
        if (r == 0)
                r = zp_kube_list(all->kube, &near, query, take_newest, &newest, NULL, err);
        if (r == 0) {
                ctl_job_read(job, newest.pod, out);
                if (out->state == CTL_BUILD_RUNNING && !out->message[0])
                        look_at_log(all, order, newest.pod, out);
                if (ctl_job_is_held_up(out))
                        look_at_trouble(all, newest.pod ? newest.pod : job, order->image, out);
                ctl_job_add_delay(order->image, out);
        }
        json_decref(newest.pod);
        return r;
}

/* ---- starting and ending ---- */

/* An object that wants the same has had it begun: with two owners it stays until both are gone. */
static int share(const struct ctl_executors *all, const struct ctl_order *order, const char *name,
                 struct zp_error *err) {
        char manager[128]; /* each owner's own: what a manager applies takes the place of what it had applied before */
        const struct zp_kube_apply apply = { place_of(order, name), manager, true };
        zp_auto(json_decref) json_t *job = NULL, *owned = NULL;
        snprintf(manager, sizeof manager, "zeropull-owner-%.64s", order->owner->uid);
        int r = zp_kube_get(all->kube, &apply.place, &job, err);
        if (r < 0 || ctl_job_is_owned_by(job, order->owner))
                return r == -ENOENT ? 0 : r;
        owned = ctl_job_share_object(order, zp_kube_uid(job));
        r = owned ? zp_kube_apply(all->kube, &apply, owned, NULL, err) : zp_error_errno(err, ENOMEM, "Job %s", name);
        return r == -EBUSY ? 0 : r; /* it has gone meanwhile */
}

static int start(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                 struct zp_error *err) {
        ctl_autosecrets struct ctl_secrets secrets = { 0 };
        const struct zp_kube_place place = place_of(order, NULL);
        *out = (struct ctl_build){ .state = CTL_BUILD_QUEUED, .progress = -1, .reason = "JobCreated" };
        name_build(order, out->id);
        snprintf(out->message, sizeof out->message, "the build's Job has no pod yet");
        int r = ctl_secrets_list(all->kube, order->owner, &secrets, err);
        if (r < 0)
                return r;
        zp_auto(json_decref) json_t *job = ctl_job_object(all->config, order, &secrets);
        if (!job)
                return zp_error_errno(err, ENOMEM, "Job %s", out->id);
        r = zp_kube_create(all->kube, &place, job, NULL, err);
        out->was_there = r == -EEXIST;
        return out->was_there ? share(all, order, out->id, err) : r;
}

static bool may_want(json_t *object, const char *build) {
        json_t *images = json_object_get(json_object_get(object, "status"), "images"), *image;
        size_t i;
        json_array_foreach(images, i, image) {
                const char *phase = json_string_value(json_object_get(image, "phase"));
                const char *its = json_string_value(json_object_get(image, "buildID"));
                bool is_settled = phase && (strcmp(phase, "Ready") == 0 || strcmp(phase, "Failed") == 0 ||
                                            strcmp(phase, "Expired") == 0);
                if (!is_settled && (!its || strcmp(its, build) == 0))
                        return true;
        }
        return json_array_size(images) == 0;
}

/* 1: another of the Job's owners waits for it, or may be about to: it becomes one before its status says so. Then it is
 * the cluster's garbage collection that removes the Job. */
static int is_wanted_by_others(const struct ctl_executors *all, const struct ctl_order *order, json_t *job,
                               struct zp_error *err) {
        json_t *owners = json_object_get(json_object_get(job, "metadata"), "ownerReferences"), *entry;
        size_t i;
        json_array_foreach(owners, i, entry) {
                const char *uid = json_string_value(json_object_get(entry, "uid"));
                const char *kind = json_string_value(json_object_get(entry, "kind"));
                const struct zp_kube_place place = { .resource = snapshots,
                                                     .namespace = order->owner->namespace,
                                                     .name = json_string_value(json_object_get(entry, "name")) };
                zp_auto(json_decref) json_t *object = NULL;
                if (uid && strcmp(uid, order->owner->uid) == 0)
                        continue;
                if (!uid || !kind || !place.name || strcmp(kind, CTL_SNAPSHOT_KIND) != 0)
                        return 1;
                int r = zp_kube_get(all->kube, &place, &object, err);
                if (r < 0 && r != -ENOENT)
                        return r;
                zp_error_clear(err);
                if (r == 0 && strcmp(zp_kube_uid(object), uid) == 0 && !zp_kube_is_being_deleted(object) &&
                    may_want(object, order->image->build_id))
                        return 1;
        }
        return 0;
}

/* Nobody else is known to want it. */
static int cancel(const struct ctl_executors *all, const struct ctl_order *order, struct zp_error *err) {
        const struct zp_kube_place place = place_of(order, order->image->build_id);
        zp_auto(json_decref) json_t *job = NULL;
        int r = zp_kube_get(all->kube, &place, &job, err);
        if (r == 0)
                r = ctl_job_is_owned_by(job, order->owner) ? is_wanted_by_others(all, order, job, err) : 1;
        if (r == 0)
                r = zp_kube_delete(all->kube, &place, zp_kube_uid(job), err);
        return r == 1 || r == -ENOENT || r == -EBUSY ? 0 : r;
}

const struct ctl_executor ctl_executor_job = {
        .kind = CTL_EXECUTOR_JOB,
        .name = "Job",
        .is_bounded = true,
        .objection = objection,
        .name_build = name_build,
        .start = start,
        .look = look,
        .cancel = cancel,
};
