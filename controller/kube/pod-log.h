/* SPDX-License-Identifier: Apache-2.0
 *
 * What a container has said, as its node's kubelet has kept it. The API server asks that one while we wait.
 */
#ifndef KUBE_POD_LOG_H
#define KUBE_POD_LOG_H

#include "base/buffer.h"
#include "controller/kube/client.h"

/* The end of what a container has said. */
struct zp_kube_log {
        const char *namespace, *pod, *container;
        unsigned lines; /* the last so many */
        size_t limit;   /* of these no more than so many bytes, about: the first */
        unsigned timeout_ms;
};
/* Asked once, and not again, for a kubelet may be what does not answer. *out, which must be zeroed, is the caller's to
 * clear. -EINVAL also: the container has not begun. -EFBIG: much more has come than was asked for. */
int zp_kube_log(struct zp_kube *kube, const struct zp_kube_log *log, struct zp_buffer *out, struct zp_error *err);

#endif
