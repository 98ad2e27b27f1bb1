/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "base/glob.h"
#include "controller/kube/client.h"
#include "controller/model/time.h"
#include "controller/warmup-plan.h"
#include "oci/json.h"
#include "oci/reference.h"

/* As in the CRD of NodeSnapshotCache. What an object says beyond that would make the API server refuse the whole list
 * of each of its nodes, with everybody's images. */
#define DEADLINE_MAX_S (7 * 24 * 3600)
#define DEADLINE_DEFAULT_S 3600

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "warm-up");
}

static const char *text_or(json_t *object, const char *key, const char *otherwise) {
        const char *text = json_string_value(json_object_get(object, key));
        return text ? text : otherwise;
}

/* 0, or out of memory: what jansson tells by -1. */
static int keep(json_t *made, json_t **out, struct zp_error *err) {
        *out = made;
        return made ? 0 : no_memory(err);
}

/* ---- objects ---- */

/* What the node shall fetch of one that is ready; "": it is not. */
static const char *digest_of(json_t *image) {
        struct zp_digest parsed;
        const char *digest = text_or(image, "digest", "");
        bool is_ready = strcmp(text_or(image, "phase", ""), "Ready") == 0;
        return is_ready && zp_digest_parse(digest, &parsed, NULL) == 0 ? digest : "";
}

/* The images by name and platform; those that are ready have a digest. Before the controller has looked at them there
 * are just the names, for every platform. */
static json_t *reduce_images(json_t *object) {
        json_t *status = json_object_get(json_object_get(object, "status"), "images");
        json_t *named = json_object_get(json_object_get(object, "spec"), "images");
        json_t *list = json_array(), *item;
        size_t i;
        json_array_foreach(status, i, item) {
                const char *name = text_or(item, "image", "");
                if (!name[0] || strcmp(text_or(item, "phase", ""), "Expired") == 0)
                        continue;
                json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "image", name, "platform",
                                                      text_or(item, "platform", ""), "digest", digest_of(item)));
        }
        if (json_array_size(status) > 0)
                return list;
        json_array_foreach(named, i, item) {
                if (json_is_string(item))
                        json_array_append_new(
                                list, json_pack("{s:O, s:s, s:s}", "image", item, "platform", "", "digest", ""));
        }
        return list;
}

/* Where they are: [{namespace, name}]. Those of a cluster-scoped object are in no namespace. */
static json_t *reduce_secrets(json_t *object) {
        json_t *named = json_object_get(json_object_get(object, "spec"), "pullSecrets");
        json_t *list = json_array(), *item;
        size_t i;
        if (!zp_kube_namespace(object)[0])
                return list;
        json_array_foreach(named, i, item) {
                const char *name = text_or(item, "name", "");
                if (name[0])
                        json_array_append_new(
                                list, json_pack("{s:s, s:s}", "namespace", zp_kube_namespace(object), "name", name));
        }
        return list;
}

/* Snapshots in a repository that the object chooses are for no node's store, which all namespaces share: who can push
 * there could pass anything off as somebody else's image. So it has to be one that the cluster's owner has named; else
 * the object wants no image. True: it may be fetched, from *from (malloc'ed; NULL: beside the image). */
static bool may_fetch(const struct warmup_options *options, const char *target, char **from) {
        struct zp_reference reference;
        bool is_named = false;
        *from = NULL;
        if (!target[0])
                return true;
        if (zp_reference_parse(target, &reference, NULL) < 0)
                return false;
        *from = zp_format("%s/%s", reference.registry, reference.repository);
        for (size_t i = 0; *from && i < options->target_count; i++)
                is_named |= zp_glob(options->targets[i], *from);
        zp_reference_clear(&reference);
        return is_named;
}

int warmup_reduce_object(const struct warmup_options *options, json_t *object, json_t **out, struct zp_error *err) {
        json_t *spec = json_object_get(object, "spec"), *warm_up = json_object_get(spec, "warmUp");
        json_t *selector = json_object_get(warm_up, "nodeSelector");
        json_int_t parallelism = json_integer_value(json_object_get(warm_up, "parallelism"));
        zp_autofree char *from = NULL;
        int64_t deadline_s = 0;
        *out = NULL;
        if (!zp_kube_name(object)[0] || !json_is_object(spec))
                return zp_error_set(err, EBADMSG, "warm-up: an object without a name or spec");
        if (!json_is_object(warm_up) || zp_kube_is_being_deleted(object))
                return 0;
        bool is_good = may_fetch(options, text_or(spec, "target", ""), &from);
        if (!ctl_parse_duration(text_or(warm_up, "deadline", ""), &deadline_s) || deadline_s < 1)
                deadline_s = DEADLINE_DEFAULT_S;
        if (deadline_s > DEADLINE_MAX_S)
                deadline_s = DEADLINE_MAX_S;
        return keep(json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:O?, s:I, s:I, s:b, s:s?, s:o, s:o}", "kind",
                              text_or(object, "kind", "ImageSnapshot"), "namespace", zp_kube_namespace(object), "name",
                              zp_kube_name(object), "uid", zp_kube_uid(object), "created",
                              text_or(json_object_get(object, "metadata"), "creationTimestamp", ""), "account",
                              is_good && zp_kube_namespace(object)[0] ? text_or(spec, "serviceAccountName", "") : "",
                              "selector", json_is_object(selector) ? selector : NULL, "parallelism",
                              parallelism > 0 ? parallelism : (json_int_t) WARMUP_PARALLELISM_DEFAULT, "deadline",
                              (json_int_t) deadline_s, "complete", json_is_true(json_object_get(warm_up, "complete")),
                              "from", from, "secrets", is_good ? reduce_secrets(object) : json_array(), "images",
                              is_good ? reduce_images(object) : json_array()),
                    out, err);
}

/* ---- nodes ---- */

static bool is_ready(json_t *node) {
        json_t *conditions = json_object_get(json_object_get(node, "status"), "conditions"), *item;
        size_t i;
        json_array_foreach(conditions, i, item) {
                if (strcmp(text_or(item, "type", ""), "Ready") == 0)
                        return strcmp(text_or(item, "status", ""), "True") == 0;
        }
        return false;
}

int warmup_reduce_node(json_t *node, json_t **out, struct zp_error *err) {
        json_t *labels = json_object_get(json_object_get(node, "metadata"), "labels");
        *out = NULL;
        if (!zp_kube_name(node)[0])
                return zp_error_set(err, EBADMSG, "warm-up: a node without a name");
        return keep(json_pack("{s:s, s:O?, s:s, s:s, s:b}", "uid", zp_kube_uid(node), "labels",
                              json_is_object(labels) ? labels : NULL, "os",
                              text_or(labels, "kubernetes.io/os", "linux"), "architecture",
                              text_or(labels, "kubernetes.io/arch", ""), "ready", (int) is_ready(node)),
                    out, err);
}

/* ---- caches ---- */

/* Without its progress, of which nodes tell all the time: that changes no plan. */
static json_t *state_of(json_t *item) {
        return json_pack("{s:s, s:s, s:b}", "digest", text_or(item, "digest", ""), "phase", text_or(item, "phase", ""),
                         "complete", json_is_true(json_object_get(item, "complete")));
}

int warmup_reduce_cache(json_t *cache, json_t **out, struct zp_error *err) {
        json_t *images = json_object_get(json_object_get(cache, "spec"), "images");
        json_t *status = json_object_get(json_object_get(cache, "status"), "images"), *item;
        json_t *wanted = json_object(), *states = json_object();
        size_t i;
        *out = NULL;
        json_array_foreach(images, i, item) {
                json_object_set(wanted, text_or(item, "image", ""), item);
        }
        json_array_foreach(status, i, item) {
                json_object_set_new(states, text_or(item, "image", ""), state_of(item));
        }
        return keep(json_pack("{s:o, s:o}", "wanted", wanted, "states", states), out, err);
}
