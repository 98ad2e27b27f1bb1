/* SPDX-License-Identifier: Apache-2.0
 *
 * Which images the pods of the cluster name, and what their nodes are to show to registries.
 */
#ifndef CTL_USAGE_H
#define CTL_USAGE_H

#include <jansson.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "controller/model/snapshot.h"

/* Containers of a pod that are looked at: those that start with it, and before. */
#define CTL_USAGE_IMAGES_MAX 64

/* Any thread. */
struct ctl_usage;
int ctl_usage_new(struct ctl_usage **out, struct zp_error *err);
void ctl_usage_free(struct ctl_usage *usage);
ZP_DEFINE_AUTO(struct ctl_usage, ctl_usage_free);

/* A pod is there, or is another; one that has ended uses nothing. 1: that changes what is used; 0: it does not. */
int ctl_usage_put(struct ctl_usage *usage, const char *key, json_t *pod, struct zp_error *err);
/* The same. */
int ctl_usage_remove(struct ctl_usage *usage, const char *key);
/* All pods that there are have been put: from now on, what none of them names is used by none. */
void ctl_usage_set_whole(struct ctl_usage *usage);
bool ctl_usage_is_whole(struct ctl_usage *usage);

struct ctl_user {
        const char *namespace;
        const char *images[CTL_USAGE_IMAGES_MAX];
        size_t image_count;
        const char *pull_secrets[CTL_PULL_SECRETS_MAX];
        size_t pull_secret_count;
        const char *service_account; /* NULL: none */
};
/* Calls for each pod, with the lock held; in the order of their namespaces and names. */
void ctl_usage_each(struct ctl_usage *usage, void (*each)(void *context, const struct ctl_user *user), void *context);

#endif
