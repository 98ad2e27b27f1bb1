/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/verdict.h"

#include <stdio.h>
#include <string.h>

#include "controller/kube/client.h"
#include "controller/node/gate.h"
#include "oci/json.h"

static const char *text(json_t *object, const char *key) {
        const char *value = json_string_value(json_object_get(object, key));
        return value ? value : "";
}

/* When it began; "": it has not. */
static const char *started(json_t *status) {
        json_t *state = json_object_get(status, "state");
        const char *running = text(json_object_get(state, "running"), "startedAt");
        return running[0] ? running : text(json_object_get(state, "terminated"), "startedAt");
}

/* "containerd://ID" */
static const char *id_of(json_t *status) {
        const char *id = text(status, "containerID"), *rest = strstr(id, "://");
        return rest ? rest + 3 : "";
}

static bool is_required(json_t *pod) {
        json_t *annotations = json_object_get(json_object_get(pod, "metadata"), "annotations");
        return strcmp(text(annotations, NODE_POD_ANNOTATION), "required") == 0;
}

static bool has_container(json_t *pod, const char *list, const char *id) {
        json_t *statuses = json_object_get(json_object_get(pod, "status"), list), *status;
        size_t i;
        json_array_foreach(statuses, i, status) {
                if (strcmp(id_of(status), id) == 0)
                        return true;
        }
        return false;
}

static void forget_others(json_t *pod, json_t *known) {
        const char *id;
        json_t *value;
        void *next;
        json_object_foreach_safe(known, next, id, value) {
                if (!has_container(pod, "initContainerStatuses", id) && !has_container(pod, "containerStatuses", id))
                        json_object_del(known, id);
        }
}

static int add_list(json_t *pod, const char *list, const char *since, json_t *known, json_t *out,
                    struct zp_error *err) {
        json_t *statuses = json_object_get(json_object_get(pod, "status"), list), *status;
        size_t i;
        json_array_foreach(statuses, i, status) {
                const char *id = id_of(status), *began = started(status);
                if (!id[0] || strcmp(began, since) <= 0 || json_object_get(known, id))
                        continue;
                json_t *container =
                        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "namespace", zp_kube_namespace(pod), "pod",
                                  zp_kube_name(pod), "uid", zp_kube_uid(pod), "container", text(status, "name"),
                                  "image", text(status, "image"), "started", began, "required", (int) is_required(pod));
                if (json_object_set_new(out, id, container) < 0)
                        return zp_error_errno(err, ENOMEM, "pods");
        }
        return 0;
}

int node_containers_add(json_t *pod, const char *since, json_t *known, json_t *out, struct zp_error *err) {
        forget_others(pod, known);
        int r = add_list(pod, "initContainerStatuses", since, known, out, err);
        return r < 0 ? r : add_list(pod, "containerStatuses", since, known, out, err);
}

/* A snapshot's key ends in "/ID". */
static json_t *find(json_t *status, const char *id) {
        json_t *list = json_object_get(status, "containers"), *item;
        size_t i;
        json_array_foreach(list, i, item) {
                const char *key = text(item, "key"), *slash = strrchr(key, '/');
                if (strcmp(slash ? slash + 1 : key, id) == 0)
                        return item;
        }
        return NULL;
}

enum node_verdict node_judge(json_t *status, const char *id, json_t *container, char *note, size_t note_size) {
        json_t *found = find(status, id);
        if (!found)
                return NODE_UNKNOWN;
        if (!json_is_true(json_object_get(found, "accelerated"))) {
                snprintf(note, note_size, "Container %s (%s) does not start from a snapshot: %s",
                         text(container, "container"), text(container, "image"), text(found, "reason"));
                return NODE_NOT_ACCELERATED;
        }
        snprintf(note, note_size, "Container %s (%s) starts from a snapshot, without downloading %d of %d layers",
                 text(container, "container"), text(container, "image"),
                 (int) json_integer_value(json_object_get(found, "layers")),
                 (int) json_integer_value(json_object_get(found, "ofLayers")));
        return NODE_ACCELERATED;
}
