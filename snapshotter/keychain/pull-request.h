/* SPDX-License-Identifier: Apache-2.0
 *
 * What a PullImageRequest of CRI (runtime.v1, and v1alpha2, which is the same on the wire) says of the image and of who
 * pulls it. All else in it is skipped.
 */
#ifndef SNAP_PULL_REQUEST_H
#define SNAP_PULL_REQUEST_H

#include "oci/auth-file.h"

struct snap_pull_request {
        char *reference;                   /* as it is in the message */
        struct zp_credentials credentials; /* what containerd would show to the image's registry; all NULL: nothing */
};

void snap_pull_request_clear(struct snap_pull_request *request);
/* -EBADMSG: not such a message, or without a reference. Credentials that make no sense count as none. Messages of
 * errors tell nothing of the content. `out` must be cleared by the caller on success. */
int snap_pull_request_read(const void *data, size_t size, struct snap_pull_request *out, struct zp_error *err);

#endif
