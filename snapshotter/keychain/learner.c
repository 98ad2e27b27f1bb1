/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/learner.h"

#include <stdlib.h>

#include "snapshotter/control/log.h"
#include "snapshotter/keychain/image-service.h"
#include "snapshotter/keychain/listener.h"
#include "snapshotter/keychain/share.h"

struct snap_learner {
        struct snap_keychain *keychain;
        struct snap_share *share;
        struct snap_image_service *images;
        struct snap_listener *listener;
};

static void add_connection(void *context, int fd) {
        struct snap_learner *learner = context;
        snap_image_service_add_connection(learner->images, fd);
}

static int serve_images(struct snap_learner *learner, const struct snap_learner_options *options,
                        struct zp_error *err) {
        int r = snap_image_service_new(options->containerd, learner->keychain, &learner->images, err);
        if (r == 0)
                r = snap_listener_new(options->image_service, add_connection, learner, &learner->listener, err);
        if (r == 0)
                snap_log_event(SNAP_LOG_INFO, "serving CRI's image service", "address", options->image_service,
                               "containerd", options->containerd, NULL);
        return r;
}

int snap_learner_new(const struct snap_learner_options *options, struct snap_learner **out, struct zp_error *err) {
        zp_auto(snap_learner_free) struct snap_learner *learner = calloc(1, sizeof *learner);
        if (!learner)
                return zp_error_errno(err, ENOMEM, "image service");
        int r = snap_keychain_new(&learner->keychain, err);
        if (r == 0)
                r = snap_share_new(options->root, learner->keychain, &learner->share, err);
        if (r == 0 && options->image_service)
                r = serve_images(learner, options, err);
        if (r < 0)
                return zp_error_wrap(err, options->image_service ? "image service" : "credentials");
        *out = zp_steal(&learner);
        return 0;
}

struct snap_keychain *snap_learner_keychain(struct snap_learner *learner) {
        return learner->keychain;
}

void snap_learner_stop(struct snap_learner *learner, unsigned grace_ms) {
        snap_listener_free(zp_steal(&learner->listener));
        if (learner->images)
                snap_image_service_end(zp_steal(&learner->images), grace_ms);
}

void snap_learner_free(struct snap_learner *learner) {
        if (!learner)
                return;
        snap_learner_stop(learner, 0);
        snap_share_free(learner->share);
        snap_keychain_free(learner->keychain);
        free(learner);
}
