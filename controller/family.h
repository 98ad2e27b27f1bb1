/* SPDX-License-Identifier: Apache-2.0
 *
 * The ImageSnapshots that there should be by a ClusterImageSnapshot: one for each image that pods of its namespaces
 * name, in the namespace, with the pull secrets and the service account of the first such pod.
 */
#ifndef CTL_FAMILY_H
#define CTL_FAMILY_H

#include "controller/model/cluster-snapshot.h"
#include "controller/usage.h"

/* One object makes no more than these. */
#define CTL_CHILDREN_MAX 10000

struct ctl_child {
        char key[CTL_KEY_SIZE];
        char name[CTL_NAME_SIZE], namespace[CTL_NAMESPACE_SIZE];
        char *image;
        json_t *secrets; /* [{"name": …}] */
        char *service_account;
};

struct ctl_family {
        const struct ctl_cluster *cluster;
        struct ctl_child **children; /* in the order in which pods name them */
        size_t count, capacity;
        void *by_key;      /* of search.h */
        bool is_too_large; /* there are more, left out */
        bool failed;
};

/* `family` is to be cleared in any case. False: no memory. */
bool ctl_family_gather(struct ctl_family *family, const struct ctl_cluster *cluster, struct ctl_usage *usage);
void ctl_family_clear(struct ctl_family *family);
bool ctl_family_has(const struct ctl_family *family, const char *key);

#endif
