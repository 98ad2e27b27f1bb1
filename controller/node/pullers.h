/* SPDX-License-Identifier: Apache-2.0
 *
 * Tells the snapshotter who may be pulling an image: the pods of this node that name it, each with what its pull
 * secrets have for the image's registry (snapshotter/keychain/waiting.h).
 */
#ifndef NODE_PULLERS_H
#define NODE_PULLERS_H

#include "controller/node/bound.h"

struct zp_kube;
struct node_pullers;

/* Listens at `path`, for root only. `kube`: reads pull secrets; it and `bound` outlive it. */
int node_pullers_start(const char *path, struct zp_kube *kube, struct node_bound *bound, struct node_pullers **out,
                       struct zp_error *err);
/* Answers that are under way are given before. */
void node_pullers_stop(struct node_pullers *pullers);
ZP_DEFINE_AUTO(struct node_pullers, node_pullers_stop);

#endif
