/* SPDX-License-Identifier: Apache-2.0
 *
 * Warm-up: which node shall have which snapshot before a pod asks for it. Watches nodes and NodeSnapshotCaches itself
 * and is told of ImageSnapshots; what the nodes shall have goes into each NodeSnapshotCache's spec (server-side apply,
 * field manager zeropull-warmup, the node as its owner), and how far they are comes back per object. The object may be
 * a ClusterImageSnapshot as well: then its namespace is "".
 *
 * Of an object that names pull secrets it also keeps a Role, limited to these, and a RoleBinding to the nodes' agents
 * in the object's namespace, both owned by the object: the cluster removes them with it.
 */
#ifndef CONTROLLER_WARMUP_H
#define CONTROLLER_WARMUP_H

#include <jansson.h>

#include "base/cancel.h"
#include "base/error.h"

#define WARMUP_FIELD_MANAGER "zeropull-warmup"
#define WARMUP_PARALLELISM_DEFAULT 10

struct zp_kube;
struct warmup;

/* Of one object: pairs of a node and an image. */
struct warmup_counts {
        unsigned desired, ready, failed;
};

struct warmup_options {
        struct zp_kube *client;                      /* outlives the planner */
        const char *agent_namespace, *agent_account; /* the service account of the nodes' agents */
        /* Patterns (base/glob.h) of "registry/repository": an object's spec.target that one of them fits is as good as
         * beside the image. They outlive the planner. */
        const char *const *targets;
        size_t target_count;
        const struct zp_cancel *cancel; /* beside warmup_stop(): nothing is written once it is requested; NULL */
        /* Whether writing is allowed at this moment; asked before each write, on the planner's thread. */
        bool (*may_write)(void *context);
        /* What warmup_look() says of an object is another than when it was last called for it. Called without a lock
         * held, on the planner's thread; it may call warmup_put() and warmup_drop(). */
        void (*changed)(void *context, const char *namespace, const char *name);
        /* A problem that is tried again; one line. */
        void (*log)(void *context, const char *line);
        void *context;
};

/* Begins to watch and to plan on a thread of its own: call it when leadership begins, and warmup_stop() when it ends.
 * Until the lists of nodes and caches are there and `warmup_synced` was called nothing is written. */
int warmup_start(const struct warmup_options *options, struct warmup **out, struct zp_error *err);
/* Ends the thread and frees all; no call of `changed` comes after. The request that is under way is given up. */
void warmup_stop(struct warmup *warmup);

/* An object is there, or changed: as the API server gave it (apiVersion, kind, metadata, spec, status). Whether it has
 * a spec.warmUp does not matter. Borrowed. Any thread. -EBADMSG: no such object. */
int warmup_put(struct warmup *warmup, json_t *object, struct zp_error *err);
/* It is gone, or being deleted: its images leave the nodes. Any thread. */
void warmup_drop(struct warmup *warmup, const char *namespace, const char *name);
/* All objects that there are have been put. Any thread. */
void warmup_synced(struct warmup *warmup);
/* What is known of an object now, and into `trouble` why the nodes may not read its pull secrets ("": they may). Any
 * thread. */
struct warmup_counts warmup_look(struct warmup *warmup, const char *namespace, const char *name, char *trouble,
                                 size_t size);

#endif
