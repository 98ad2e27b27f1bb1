/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the running controller.
 */
#ifndef CTL_PARTS_H
#define CTL_PARTS_H

#include <pthread.h>

#include "controller/controller.h"
#include "controller/kube/lease.h"
#include "controller/kube/reflector.h"
#include "controller/reconcile.h"
#include "controller/warmup.h"
#include "monitor/monitor.h"

#define CTL_WORKERS_MAX 256

struct ctl_controller {
        const struct ctl_options *options;
        struct ctl_config *config;
        struct zp_kube_config *kube_config;
        struct ctl_world world;
        struct zp_cancel work_cancel, kube_cancel; /* requests to registries and hooks, and those to the API server */
        struct zp_http *hook;
        struct zp_kube_reflector *snapshots, *clusters, *jobs, *pods;
        struct zp_kube_lease *lease;
        struct zp_monitor *monitor;
        char identity[320];
        int event_fd; /* wakes the main thread */
        atomic_bool is_leader, is_lost, is_synced, are_clusters_synced, are_jobs_synced;
        atomic_llong leader_since; /* seconds since 1970; 0: not yet */
        pthread_t workers[CTL_WORKERS_MAX];
        size_t worker_count;
        pthread_mutex_t warm_up_lock; /* guards the pointer */
        struct warmup *warm_up;       /* NULL: not the leader */
};

/* watches.c: what the API server tells. */
int ctl_watches_start(struct ctl_controller *c, struct zp_error *err);
/* Pods are watched as soon as a ClusterImageSnapshot is there. */
int ctl_watches_start_pods(struct ctl_controller *c, struct zp_error *err);
void ctl_watches_stop(struct ctl_controller *c);
bool ctl_watches_are_synced(struct ctl_controller *c);

/* work.c: what a leader does. */
int ctl_work_begin(struct ctl_controller *c, struct zp_error *err);
/* Waits for what is under way. */
void ctl_work_end(struct ctl_controller *c);
/* Tells the planner of warm-ups, when there is one. NULL object: it is gone. */
void ctl_work_warm_up(struct ctl_controller *c, const char *namespace, const char *name, json_t *object);
bool ctl_work_look_at_warm_up(void *controller, const char *namespace, const char *name, struct ctl_counts *out,
                              char trouble[CTL_CONDITION_MESSAGE_SIZE]);

/* figures.c */
bool ctl_figures_write(void *controller, struct zp_buffer *out);

void ctl_controller_wake(struct ctl_controller *c);

#endif
