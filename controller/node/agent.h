/* SPDX-License-Identifier: Apache-2.0
 *
 * The node's agent: makes the images of its NodeSnapshotCache present in the store, takes them away when they are not
 * wanted any more, and says in the object's status how far it is. Other parts say of pods whether their containers were
 * accelerated (pods.h), tell the snapshotter whose pods wait for an image (pullers.h), and keep containers from
 * starting that are not as their pod wants it (gate.h).
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
        const char *socket;   /* where the snapshotter asks who pulls; NULL: it does not */
        const char *nri;      /* containerd's socket for plugins: pods' wishes are kept; NULL: they are not */
        struct zp_kube *kube;
        struct zp_kube *kubelet; /* with the kubelet's rights: for pods' pull secrets; NULL: our own */
        const struct zp_cancel *cancel;
};

/* Runs until it is cancelled. */
int node_agent_run(const struct node_options *options, struct zp_error *err);

#endif
