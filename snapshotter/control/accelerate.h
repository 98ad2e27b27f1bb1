/* SPDX-License-Identifier: Apache-2.0
 *
 * Decides whether a layer that containerd is about to download is not needed: the image has a snapshot, here or beside
 * the image, that may be trusted, and can be had before a deadline.
 */
#ifndef SNAP_ACCELERATE_H
#define SNAP_ACCELERATE_H

#include "base/cancel.h"
#include "snapshotter/control/metastore.h"
#include "snapshotter/control/metrics.h"
#include "snapshotter/control/room.h"
#include "snapshotter/keychain/keychain.h"
#include "store/store.h"

/* What containerd says of the layer: the chain ID it shall become, and whose layer it is. The last two come from CRI,
 * and from containerd 2's transfer service. */
#define SNAP_LABEL_TARGET "containerd.io/snapshot.ref"
#define SNAP_LABEL_IMAGE "containerd.io/snapshot/cri.image-ref"
#define SNAP_LABEL_MANIFEST "containerd.io/snapshot/cri.manifest-digest"
/* What we say of a snapshot that was to be a layer, and has to be downloaded: "denied: " and why. The words before the
 * colon are those of the metrics. */
#define SNAP_LABEL_REASON "containerd.io/snapshot/zeropull.not-accelerated"

struct snap_accelerator;

struct snap_accelerator_options {
        const char *policy;           /* file; NULL: /etc/zeropull/policy.yaml, when it is there */
        struct snap_metrics *metrics; /* counts decisions; NULL: nobody does */
        unsigned timeout_ms;          /* for registry and signatures, each image */
        const char *auth_file;        /* see struct zp_source_options */
        const char *ca_file;
        const char *const *preloads;    /* NULL-terminated, or NULL: none; copied */
        bool check_rights;              /* see struct snap_acquire_options */
        struct snap_keychain *keychain; /* knows who pulls; NULL: nobody does */
        const char *agent;              /* the socket of one that knows better (waiting.h); needs a keychain; NULL */
        struct snap_room *room;         /* made where a snapshot lacks it; must outlive the accelerator */
};

/* `store` and `metastore` must outlive it; strings are copied. */
int snap_accelerator_new(struct zp_store *store, struct snap_metastore *metastore,
                         const struct snap_accelerator_options *options, struct snap_accelerator **out,
                         struct zp_error *err);
void snap_accelerator_free(struct snap_accelerator *accelerator);
ZP_DEFINE_AUTO(struct snap_accelerator, snap_accelerator_free);

/* 1: *base is what the target will show; its reference is one of the labels'. 0: an ordinary download it is, or the
 * labels do not ask for more. Why, *why says, unless that is the reason, and it is logged and recorded once for each
 * image and attempt: an answer counts for the image's other layers and the same puller, for a minute; a good one for
 * ten when rights are not checked. Who pulls, the keychain or the agent says; when several do at the same time, each of
 * them must have the right, for a layer does not say whose it is; when none does it is the node itself. Of those who
 * wait, one whom the image's own registry refuses does not count: containerd asked there before, as who pulls, and was
 * not refused. Thread-safe; those who ask for the same image at the same time wait for one of them. */
int snap_accelerate(struct snap_accelerator *accelerator, const struct snap_labels *labels,
                    const struct zp_cancel *cancel, struct snap_base *base, struct zp_error *why);

/* Fetches the snapshot of an image again that the store does not have any more. */
int snap_accelerator_restore(struct snap_accelerator *accelerator, const struct snap_base *base,
                             const struct zp_cancel *cancel, struct zp_error *err);

#endif
