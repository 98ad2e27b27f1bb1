/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pull asks of containerd: a lease, blobs in its content store, snapshots, and the image's name.
 * API: containerd.services.{leases,content,snapshots,images}.v1.
 */
#ifndef CONTAINERD_SERVICES_H
#define CONTAINERD_SERVICES_H

#include "cli/containerd/call.h"
#include "cli/containerd/labels.h"

struct containerd_options {
        const char *address, *namespace, *snapshotter;
        const struct zp_cancel *cancel;
};

struct containerd;

/* Strings are copied. Talks to nobody yet. */
int containerd_open(const struct containerd_options *options, struct containerd **out, struct zp_error *err);
void containerd_close(struct containerd *containerd);
ZP_DEFINE_AUTO(struct containerd, containerd_close);
const char *containerd_snapshotter(const struct containerd *containerd);

/* What is made or found from here on is kept until the lease ends, by containerd_lease_end or an hour later. Not
 * interrupted; -ETIMEDOUT: it is not known whether there is a lease. */
int containerd_lease_begin(struct containerd *containerd, struct zp_error *err);
/* Also when all else was cancelled. With `collect` it returns when what nobody else holds is gone. */
int containerd_lease_end(struct containerd *containerd, bool collect, struct zp_error *err);

/* What is there already gets the labels, and its other labels stay. */
int containerd_put_blob(struct containerd *containerd, const struct zp_descriptor *blob, const char *data,
                        const struct zp_reference *reference, struct containerd_labels *labels, struct zp_error *err);

/* Asks for a layer's snapshot, on `parent` ("" for the lowest): 1: it is there and needs no download; 0: it does. */
int containerd_prepare(struct containerd *containerd, const char *chain_id, const char *parent,
                       struct containerd_labels *labels, struct zp_error *err);
/* What the snapshotter says why the layer that was asked for last has to be downloaded, in its words ("denied: …");
 * NULL: it says nothing. malloc'ed. */
int containerd_refusal(struct containerd *containerd, const char *chain_id, char **out, struct zp_error *err);
/* Has the lease hold a snapshot, and so those below. -ENOENT: it is gone. */
int containerd_hold_snapshot(struct containerd *containerd, const char *name, struct zp_error *err);

/* Makes the name stand for the manifest, whatever it stood for. */
int containerd_put_image(struct containerd *containerd, const char *name, const struct zp_descriptor *manifest,
                         struct zp_error *err);

#endif
