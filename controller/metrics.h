/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP, for who watches: /metrics, /healthz, /readyz.
 */
#ifndef CTL_METRICS_H
#define CTL_METRICS_H

#include "base/buffer.h"
#include "base/cleanup.h"

struct ctl_metrics_server;

struct ctl_metrics_options {
        const char *listen; /* "ADDRESS:PORT" */
        /* On the server's thread. */
        bool (*write)(void *context, struct zp_buffer *out); /* the metrics; false: no memory */
        /* NULL: it is ready; else what is still to come. */
        const char *(*unready)(void *context);
        void *context;
};
/* A thread of its own answers. *port is the one the kernel gave, where 0 was asked for. */
int ctl_metrics_server_new(const struct ctl_metrics_options *options, struct ctl_metrics_server **out, unsigned *port,
                           struct zp_error *err);
void ctl_metrics_server_free(struct ctl_metrics_server *server);
ZP_DEFINE_AUTO(struct ctl_metrics_server, ctl_metrics_server_free);

#endif
