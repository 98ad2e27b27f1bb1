/* SPDX-License-Identifier: Apache-2.0
 *
 * CRI's image service in front of containerd's, for kubelet (--image-service-endpoint): every call is passed on, and
 * its answer back, as it is: messages, status, metadata, deadline, cancellation. From PullImage is learned who pulls.
 */
#ifndef SNAP_IMAGE_SERVICE_H
#define SNAP_IMAGE_SERVICE_H

#include "base/cleanup.h"
#include "snapshotter/keychain/keychain.h"

struct snap_image_service;

/* `address`: containerd's socket, which need not be there yet. The keychain must outlive the service. */
int snap_image_service_new(const char *address, struct snap_keychain *keychain, struct snap_image_service **out,
                           struct zp_error *err);
/* Serves a connection from now on; takes over `fd`. */
void snap_image_service_add_connection(struct snap_image_service *service, int fd);
/* Takes no new calls; those under way have `grace_ms` to end, and are cancelled then. Then it is freed. */
void snap_image_service_end(struct snap_image_service *service, unsigned grace_ms);

#endif
