/* SPDX-License-Identifier: Apache-2.0
 *
 * A ClusterImageSnapshot makes an ImageSnapshot for each image that pods of its namespaces name, there, with the pull
 * secrets and the service account of such a pod; and takes it back when no pod has named the image for long.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "controller/family.h"
#include "controller/kube/apply.h"
#include "controller/model/time.h"
#include "controller/reconcile.h"

/* After so many that the API server had no answer to, the others are not tried. */
#define UNANSWERED_MAX 8

/* ---- making and taking back ---- */

static json_t *child_spec(const struct ctl_cluster *cluster, const struct ctl_child *child) {
        json_t *spec = cluster->template ? json_copy(cluster->template) : json_object();
        bool ok = spec && json_object_set_new(spec, "images", json_pack("[s]", child->image)) == 0;
        /* an image that is pinned never changes */
        if (ok && strchr(child->image, '@')) {
                json_object_del(spec, "interval");
                ok = json_object_set_new(spec, "mode", json_string("Once")) == 0;
        }
        if (ok && json_array_size(child->secrets) > 0)
                ok = json_object_set(spec, "pullSecrets", child->secrets) == 0;
        if (ok && child->service_account)
                ok = json_object_set_new(spec, "serviceAccountName", json_string(child->service_account)) == 0;
        if (ok)
                return spec;
        json_decref(spec);
        return NULL;
}

static bool digest_of(json_t *spec, char text[ZP_DIGEST_TEXT_SIZE]) {
        struct zp_digest digest;
        zp_autofree char *dump = json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS);
        if (!dump)
                return false;
        zp_digest_of(dump, strlen(dump), &digest);
        zp_digest_text(&digest, text);
        return true;
}

static json_t *member(json_t *object, const char *outer, const char *inner) {
        return json_object_get(json_object_get(object, outer), inner);
}

static bool is_applied(json_t *known, const char *digest) {
        json_t *annotations = member(known, "metadata", "annotations");
        const char *applied = json_string_value(json_object_get(annotations, CTL_APPLIED_ANNOTATION));
        return applied && strcmp(applied, digest) == 0;
}

static json_t *child_object(const struct ctl_cluster *cluster, const struct ctl_child *child, json_t *spec,
                            const char *digest) {
        return json_pack("{s:s, s:s, s:{s:s, s:s, s:{s:s, s:s}, s:{s:s}, s:[{s:s, s:s, s:s, s:s, s:b, s:b}]}, s:O}",
                         "apiVersion", CTL_API_VERSION, "kind", CTL_SNAPSHOT_KIND, "metadata", "name", child->name,
                         "namespace", child->namespace, "labels", "app.kubernetes.io/managed-by", "zeropull-controller",
                         CTL_MADE_BY_LABEL, cluster->name, "annotations", CTL_APPLIED_ANNOTATION, digest,
                         "ownerReferences", "apiVersion", CTL_API_VERSION, "kind", CTL_CLUSTER_KIND, "name",
                         cluster->name, "uid", cluster->uid, "controller", 1, "blockOwnerDeletion", 0, "spec", spec);
}

static int apply_child(struct ctl_world *world, const struct ctl_cluster *cluster, const struct ctl_child *child,
                       struct zp_error *err) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_auto(json_decref) json_t *known = ctl_cache_get(world->snapshots, child->key), *written = NULL;
        zp_auto(json_decref) json_t *spec = child_spec(cluster, child);
        if (!spec || !digest_of(spec, digest))
                return zp_error_errno(err, ENOMEM, "%s", child->key);
        ctl_cache_note(world->snapshots, child->key, CTL_NOTE_UNUSED_SINCE, 0);
        if (known && is_applied(known, digest))
                return 0;
        if (!world->may_write(world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        zp_auto(json_decref) json_t *object = child_object(cluster, child, spec, digest);
        const struct zp_kube_apply apply = { { .resource = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL },
                                               .namespace = child->namespace,
                                               .name = child->name },
                                             "zeropull-cluster",
                                             true };
        int r = object ? zp_kube_apply(world->kube, &apply, object, &written, err)
                       : zp_error_errno(err, ENOMEM, "%s", child->key);
        if (r == -ENOENT || (r == -EPERM && strstr(err->message, "being terminated"))) /* the namespace goes */
                return 0;
        if (r == 0)
                r = ctl_cache_put(world->snapshots, child->key, written, err);
        ctl_queue_add(world->queue, child->key); /* the watch tells nothing newer */
        return r < 0 ? r : 0;
}

/* One that no pod names: goes when that has been so for long. */
static int judge_unused(struct ctl_world *world, const struct ctl_cluster *cluster, const char *key, int64_t now,
                        int64_t *wake, struct zp_error *err) {
        int64_t since = ctl_cache_noted(world->snapshots, key, CTL_NOTE_UNUSED_SINCE);
        if (!since)
                ctl_cache_note(world->snapshots, key, CTL_NOTE_UNUSED_SINCE, since = now);
        int64_t end = since + cluster->unused_s;
        if (now < end) {
                if (!*wake || end < *wake)
                        *wake = end;
                return 0;
        }
        zp_auto(json_decref) json_t *known = ctl_cache_get(world->snapshots, key);
        const struct zp_kube_place place = { .resource = { CTL_API_VERSION, CTL_SNAPSHOT_PLURAL },
                                             .namespace = zp_kube_namespace(known),
                                             .name = zp_kube_name(known) };
        if (!known)
                return 0;
        if (!world->may_write(world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        int r = zp_kube_delete(world->kube, &place, zp_kube_uid(known), err);
        return r == -ENOENT || r == -EBUSY ? 0 : r;
}

/* ---- status ---- */

struct tally {
        unsigned desired, ready, failed;
        char first[CTL_KEY_SIZE]; /* that is not ready */
        char why[CTL_MESSAGE_SIZE];
        char refused[CTL_CONDITION_MESSAGE_SIZE]; /* the first that could not be made, and why; "" */
};

static void count_child(struct ctl_world *world, const char *key, struct tally *tally) {
        zp_auto(json_decref) json_t *known = ctl_cache_get(world->snapshots, key);
        struct ctl_condition conditions[CTL_CONDITIONS] = { 0 };
        ctl_conditions_parse(member(known, "status", "conditions"), conditions);
        const struct ctl_condition *ready = &conditions[CTL_CONDITION_READY];
        tally->desired++;
        tally->ready += ready->status == 'T';
        tally->failed += conditions[CTL_CONDITION_DEGRADED].status == 'T';
        if (ready->status != 'T' && !tally->first[0]) {
                snprintf(tally->first, sizeof tally->first, "%s", key);
                snprintf(tally->why, sizeof tally->why, "%.500s", ready->message);
        }
}

static void judge(struct ctl_cluster *cluster, const struct ctl_family *family, const struct tally *tally,
                  int64_t now) {
        struct ctl_condition *c = cluster->conditions;
        char message[CTL_CONDITION_MESSAGE_SIZE];
        int64_t generation = cluster->generation;
        snprintf(message, sizeof message, "%u of %u ImageSnapshots are ready%s%s%s%s", tally->ready, tally->desired,
                 tally->first[0] ? "; " : "", tally->first, tally->why[0] ? ": " : "", tally->why);
        bool is_ready = tally->ready == tally->desired;
        ctl_condition_set(&c[CTL_CONDITION_READY], is_ready ? 'T' : 'F', is_ready ? "SnapshotsReady" : "NotReady",
                          message, generation, now);
        ctl_condition_set(&c[CTL_CONDITION_PROGRESSING], tally->ready + tally->failed < tally->desired ? 'T' : 'F',
                          tally->ready + tally->failed < tally->desired ? "Building" : "Done", "", generation, now);
        ctl_condition_set(&c[CTL_CONDITION_DEGRADED], tally->failed ? 'T' : 'F',
                          tally->failed ? "Failed" : "AsExpected", "", generation, now);
        if (tally->refused[0])
                ctl_condition_set(&c[CTL_CONDITION_DEGRADED], 'T', "NotMade", tally->refused, generation, now);
        if (family->is_too_large)
                ctl_condition_set(&c[CTL_CONDITION_DEGRADED], 'T', "TooManyImages",
                                  "its rules fit more images than one object may have", generation, now);
}

static void judge_malformed(struct ctl_cluster *cluster, const char *trouble, int64_t now) {
        struct ctl_condition *c = cluster->conditions;
        ctl_condition_set(&c[CTL_CONDITION_READY], 'F', "InvalidSpec", trouble, cluster->generation, now);
        ctl_condition_set(&c[CTL_CONDITION_PROGRESSING], 'F', "InvalidSpec", "", cluster->generation, now);
        ctl_condition_set(&c[CTL_CONDITION_DEGRADED], 'T', "InvalidSpec", trouble, cluster->generation, now);
}

static int write_status(struct ctl_world *world, const char *key, const struct ctl_cluster *cluster,
                        const struct tally *tally, struct zp_error *err) {
        zp_auto(json_decref) json_t *conditions = ctl_conditions_json(cluster->conditions), *written = NULL;
        zp_auto(json_decref) json_t *status =
                json_pack("{s:I, s:i, s:i, s:i, s:O}", "observedGeneration", (json_int_t) cluster->generation,
                          "desired", (int) tally->desired, "ready", (int) tally->ready, "failed", (int) tally->failed,
                          "conditions", conditions);
        if (!status)
                return zp_error_errno(err, ENOMEM, "%s", key);
        if (json_equal(status, json_object_get(cluster->object, "status")))
                return 0;
        if (!world->may_write(world->context))
                return zp_error_set(err, ECANCELED, "not the leader any more");
        zp_auto(json_decref) json_t *object =
                json_pack("{s:s, s:s, s:{s:s, s:s}, s:O}", "apiVersion", CTL_API_VERSION, "kind", CTL_CLUSTER_KIND,
                          "metadata", "name", cluster->name, "uid", cluster->uid, "status", status);
        const struct zp_kube_apply apply = {
                { .resource = { CTL_API_VERSION, CTL_CLUSTER_PLURAL }, .name = cluster->name, .subresource = "status" },
                CTL_FIELD_MANAGER,
                true
        };
        int r = object ? zp_kube_apply(world->kube, &apply, object, &written, err)
                       : zp_error_errno(err, ENOMEM, "%s", key);
        if (r == -ENOENT || r == -EBUSY)
                return 0;
        atomic_fetch_add(&world->counters.status_writes, 1);
        if (r == 0)
                r = ctl_cache_put(world->clusters, key, written, err);
        return r < 0 ? r : 0;
}

/* ---- a look ---- */

static int care_for_unused(struct ctl_world *world, const struct ctl_family *family, struct tally *tally, int64_t *wake,
                           struct zp_error *err) {
        zp_autofree char *label = zp_format("\"" CTL_MADE_BY_LABEL "\":\"%s\"", family->cluster->name);
        char **keys = label ? ctl_cache_mentioning(world->snapshots, label, "") : NULL;
        int64_t now = ctl_now();
        int r = keys ? 0 : zp_error_errno(err, ENOMEM, "%s", family->cluster->name);
        for (char **key = keys; key && *key && r == 0; key++) {
                if (ctl_family_has(family, *key))
                        continue;
                count_child(world, *key, tally);
                r = judge_unused(world, family->cluster, *key, now, wake, err);
        }
        ctl_cache_keys_free(keys);
        return r;
}

/* One that the API server refuses, as by a quota of its namespace, keeps no other from being made; negative: the first
 * such error, when all were tried, or what keeps all of them (*is_over). */
static int apply_children(struct ctl_world *world, const struct ctl_family *family, struct tally *tally, bool *is_over,
                          struct zp_error *err) {
        int first = 0;
        unsigned unanswered = 0;
        for (size_t i = 0; i < family->count; i++) {
                const struct ctl_child *child = family->children[i];
                struct zp_error why = { 0 };
                int r = apply_child(world, family->cluster, child, &why);
                count_child(world, child->key, tally);
                if (r < 0 && first == 0) {
                        *err = why;
                        first = r;
                        snprintf(tally->refused, sizeof tally->refused, "%s: %.600s", child->key, why.message);
                }
                unanswered += r == -EAGAIN;
                *is_over = r < 0 && r != -EPERM && r != -EINVAL && r != -EBUSY && r != -EEXIST &&
                           (r != -EAGAIN || unanswered == UNANSWERED_MAX);
                if (*is_over) {
                        *err = why;
                        return r;
                }
        }
        return first;
}

/* It is not known yet what pods name: nothing is unused. What was said of it before stays. */
static int wait_for_pods(struct ctl_world *world, const char *key, struct ctl_cluster *cluster, struct zp_error *err) {
        static const char reason[] = "PodsNotListed",
                          message[] =
                                  "what pods name is not known yet; should that last, the controller's log says why";
        struct ctl_condition *c = cluster->conditions;
        if (cluster->observed_generation)
                return 0;
        ctl_condition_set(&c[CTL_CONDITION_READY], 'F', reason, message, cluster->generation, ctl_now());
        ctl_condition_set(&c[CTL_CONDITION_PROGRESSING], 'T', reason, message, cluster->generation, ctl_now());
        ctl_condition_set(&c[CTL_CONDITION_DEGRADED], 'F', "AsExpected", "", cluster->generation, ctl_now());
        return write_status(world, key, cluster, &(struct tally){ 0 }, err);
}

static int look(struct ctl_world *world, const char *key, struct ctl_cluster *cluster, int64_t *wake,
                struct zp_error *err) {
        struct ctl_family family;
        struct tally tally = { 0 };
        int r = 0, refused = 0;
        bool is_over = false;
        struct zp_error why = { 0 };
        if (!ctl_family_gather(&family, cluster, world->usage))
                r = zp_error_errno(err, ENOMEM, "%s", key);
        else
                refused = apply_children(world, &family, &tally, &is_over, &why);
        if (r == 0 && !is_over)
                r = care_for_unused(world, &family, &tally, wake, err);
        if (r == 0 && !is_over) {
                judge(cluster, &family, &tally, ctl_now());
                r = write_status(world, key, cluster, &tally, err);
        }
        ctl_family_clear(&family);
        if (r < 0 || refused == 0)
                return r;
        *err = why;
        return refused;
}

int ctl_reconcile_cluster(struct ctl_world *world, const char *key, int64_t *wake_s, struct zp_error *err) {
        zp_auto(json_decref) json_t *object = ctl_cache_get(world->clusters, key);
        struct ctl_cluster cluster;
        struct zp_error malformed = { 0 };
        int64_t wake = 0;
        *wake_s = -1;
        if (!object)
                return 0;
        int r = ctl_cluster_parse(object, &cluster, &malformed);
        if (cluster.is_being_deleted || !cluster.uid[0]) { /* the cluster takes its ImageSnapshots back */
                r = 0;
        } else if (r < 0) {
                judge_malformed(&cluster, malformed.message, ctl_now());
                r = write_status(world, key, &cluster, &(struct tally){ 0 }, err);
        } else if (!ctl_usage_is_whole(world->usage)) {
                r = wait_for_pods(world, key, &cluster, err);
        } else {
                r = look(world, key, &cluster, &wake, err);
        }
        ctl_cluster_clear(&cluster);
        if (r == 0 && wake)
                *wake_s = wake > ctl_now() ? wake - ctl_now() : 0;
        return r;
}
