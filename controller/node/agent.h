/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's agent: makes the images of its NodeSnapshotCache present in the store, takes them away when they are not
 * wanted any more, and says in the object's status how far it is. Another part (pods.h) says of pods whether their
 * containers were accelerated.
 */
#ifndef NODE_AGENT_H
#define NODE_AGENT_H

#include <stdbool.h>

#include "base/cancel.h"
#include "base/error.h"

struct zp_kube;

#define NODE_FIELD_MANAGER "zeropull-node"

struct node_options {
        const char *node;   /* the node's name, and its object's */
        const char *root;   /* the snapshotter's */
        const char *store;  /* where images go */
        const char *config; /* the snapshotter's settings: ca_file, auth_file and policy are pulled with; NULL: none */
        const char *zeropull; /* the program */
        unsigned parallelism; /* images at a time */
        bool tells_pods;      /* events on pods */
        struct zp_kube *kube;
        const struct zp_cancel *cancel;
};

/* Runs until it is cancelled. */
int node_agent_run(const struct node_options *options, struct zp_error *err);

#endif
