/* SPDX-License-Identifier: Apache-2.0
 *
 * The labels that containerd's own pull puts on what it stores: they keep an image's parts from its garbage collection,
 * and tell snapshotters whose layers they are asked for.
 */
#ifndef CONTAINERD_LABELS_H
#define CONTAINERD_LABELS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/limits.h"
#include "oci/manifest.h"
#include "oci/reference.h"

/* containerd refuses a label whose key and value are longer together. */
#define CONTAINERD_LABEL_MAX 4096u

struct containerd_label {
        const char *key, *value;
};

/* A zeroed one is ready; clear the arena when done. */
struct containerd_labels {
        struct containerd_label items[ZP_LIMIT_LAYERS + 2];
        size_t count;
        struct zp_arena arena;
};

/* These add labels; false: memory is exhausted.
 *
 * On the manifest: what it refers to. */
bool containerd_labels_of_manifest(struct containerd_labels *labels, const struct zp_image *image);
/* On the configuration: the snapshot of all layers, "" when there are none. */
bool containerd_labels_of_config(struct containerd_labels *labels, const char *snapshotter, const char *chain_id);
/* For a snapshotter, about the layer with this number: what it shall become, and whose it is. `name` is the image's. */
bool containerd_labels_of_layer(struct containerd_labels *labels, const struct zp_image *image, const char *name,
                                unsigned layer, const char *chain_id);

/* On each blob: the repository it is from, with those that `known`, the label's value so far (NULL: none), names.
 * Nothing is added when that would be too long. */
bool containerd_labels_add_source(struct containerd_labels *labels, const struct zp_reference *reference,
                                  const char *known);
/* The key of that label; malloc'ed. */
char *containerd_source_key(const struct zp_reference *reference);

#endif
