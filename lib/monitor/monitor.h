/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP, for who watches a daemon: /metrics, /healthz and /readyz.
 */
#ifndef ZP_MONITOR_MONITOR_H
#define ZP_MONITOR_MONITOR_H

#include "base/buffer.h"
#include "base/cleanup.h"
#include "oci/notice.h"

struct zp_monitor;

struct zp_monitor_options {
        const char *listen; /* as zp_listen() takes it; not used after zp_monitor_new() */
        /* The functions run on the monitor's one thread: while one does, nobody else is answered. */
        bool (*metrics)(void *context, struct zp_buffer *out); /* adds them, see base/prometheus.h; false: no memory */
        /* NULL: all is well; else what is not, without a newline, not freed. No function: it always is. */
        const char *(*unhealthy)(void *context);
        /* So what is still to come until it is ready. No function: there is no /readyz. */
        const char *(*unready)(void *context);
        void *context;           /* the caller's, who keeps it until zp_monitor_free() has returned */
        struct zp_notice notice; /* what goes wrong with a client; also on that thread */
};

/* Listens, and answers on a thread of its own: GET and HEAD, of 64 clients at once, each of whom has 10 s and 16 KiB
 * for a request. *port is the one the kernel gave, where 0 was asked for.
 *
 * -EINVAL: not an address and a port; the socket's own error; -ENOMEM; -EIO: the server does not start. *out and *port
 * are untouched then. */
int zp_monitor_new(const struct zp_monitor_options *options, struct zp_monitor **out, unsigned *port,
                   struct zp_error *err);
/* Waits for the function that runs. NULL: nothing. */
void zp_monitor_free(struct zp_monitor *monitor);
ZP_DEFINE_AUTO(struct zp_monitor, zp_monitor_free);

#endif
