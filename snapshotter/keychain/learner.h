/* SPDX-License-Identifier: Apache-2.0
 *
 * All that learns who pulls, together: the keychain, the image service that fills it, and the socket by which the data
 * plane asks it. Without the image service the keychain remembers whose right was confirmed, and no more.
 */
#ifndef SNAP_LEARNER_H
#define SNAP_LEARNER_H

#include "snapshotter/keychain/keychain.h"

struct snap_learner_options {
        const char *root;          /* the daemon's directory */
        const char *image_service; /* the socket to serve CRI's image service at; NULL: it is not served */
        const char *containerd;    /* containerd's */
};

struct snap_learner;
/* What `options` refers to is copied where it is kept. */
int snap_learner_new(const struct snap_learner_options *options, struct snap_learner **out, struct zp_error *err);
struct snap_keychain *snap_learner_keychain(struct snap_learner *learner);
/* Takes no new calls; those under way have `grace_ms` to end. The keychain stays, and so do the answers from it. */
void snap_learner_stop(struct snap_learner *learner, unsigned grace_ms);
/* Stops at once, if it has not been. */
void snap_learner_free(struct snap_learner *learner);
ZP_DEFINE_AUTO(struct snap_learner, snap_learner_free);

#endif
