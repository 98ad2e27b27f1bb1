/* SPDX-License-Identifier: Apache-2.0
 *
 * A ClusterImageSnapshot as the API server gives it.
 */
#ifndef CTL_CLUSTER_SNAPSHOT_H
#define CTL_CLUSTER_SNAPSHOT_H

#include "controller/model/snapshot.h"

#define CTL_PATTERNS_MAX 64

struct ctl_patterns {
        const char *items[CTL_PATTERNS_MAX];
        size_t count;
};

/* Texts belong to the object. */
struct ctl_cluster {
        json_t *object; /* held */
        const char *name, *uid;
        int64_t generation;
        bool is_being_deleted;
        struct ctl_patterns namespaces, repositories, tags;
        struct ctl_patterns not_namespaces, not_repositories, not_tags;
        int64_t unused_s;
        json_t *template; /* the object's; NULL: none */
        int64_t observed_generation;
        struct ctl_condition conditions[CTL_CONDITIONS];
};

/* -EBADMSG: it is none; `name` and `uid` are filled where they are in order. To be cleared in any case. */
int ctl_cluster_parse(json_t *object, struct ctl_cluster *out, struct zp_error *err);
void ctl_cluster_clear(struct ctl_cluster *cluster);

/* Whether an image that a pod of the namespace names is wanted. False also for what is no image's name. */
bool ctl_cluster_wants(const struct ctl_cluster *cluster, const char *namespace, const char *image);

#endif
