/* SPDX-License-Identifier: Apache-2.0
 *
 * What the planner's files share: what it knows (warmup-known.c), what it writes (warmup-write.c), and the thread that
 * decides (warmup.c).
 */
#ifndef CONTROLLER_WARMUP_INTERNAL_H
#define CONTROLLER_WARMUP_INTERNAL_H

#include <pthread.h>

#include "controller/kube/reflector.h"
#include "controller/model/names.h"
#include "controller/warmup-plan.h"

struct warmup {
        struct warmup_options options;
        struct zp_cancel cancel;
        struct zp_kube_reflector *node_reflector, *cache_reflector;
        pthread_t thread;
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t news;
        struct warmup_world world;
        json_t *counts;                   /* as they were told last */
        json_t *accounts;                 /* the planner's thread's alone: of warmup-accounts.c */
        json_t *refused;                  /* object key to why the nodes may not read its secrets */
        json_t *roles;                    /* the planner's thread's alone: of warmup-roles.h */
        bool has_roles;                   /* the planner's thread's alone: the cluster's are among `roles` */
        int64_t roles_again, roles_pause; /* the planner's thread's alone: when to ask for them again */
        bool has_objects, has_nodes, has_caches;
        bool is_changed, is_ending;
};

/* A problem that is tried again. */
void warmup_complain(struct warmup *w, const struct zp_error *err);
/* Of a member that is none: "". */
const char *warmup_text(json_t *object, const char *key);

/* Starts the reflectors of nodes and caches; those that were started, the caller stops. */
int warmup_watch(struct warmup *w, struct zp_error *err);
/* [desired, ready, failed] */
struct warmup_counts warmup_counts_of(json_t *sums);

/* How long what an account has is believed. */
#define WARMUP_ACCOUNT_S 300
/* On the planner's thread, without the lock: adds to each object's secrets those of the service account that it names.
 * A failure is told, and returned; what was known of the account before holds then. */
int warmup_add_accounts(struct warmup *w, json_t *objects);

/* On the planner's thread, without the lock. A failure is told, keeps no other from being written, and is returned. */
int warmup_write_caches(struct warmup *w, json_t *changes, json_t *known_nodes);
/* Before the caches, so that an agent that is told of an image may read its secrets. */
int warmup_write_roles(struct warmup *w, json_t *objects);

#endif
