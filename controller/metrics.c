/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/metrics.h"

#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prometheus.h"
#include "controller/log.h"
#include "oci/listen.h"

#define CONNECTIONS_MAX 64
#define IDLE_S 10
#define MEMORY_MAX 16384

struct ctl_metrics_server {
        struct MHD_Daemon *daemon;
        struct ctl_metrics_options options;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type, const char *text,
                             size_t size) {
        struct MHD_Response *response = MHD_create_response_from_buffer(size, (void *) text, MHD_RESPMEM_MUST_COPY);
        if (!response)
                return MHD_NO;
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        enum MHD_Result r = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return r;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned status, const char *words) {
        char line[256];
        snprintf(line, sizeof line, "%s\n", words);
        return reply(connection, status, "text/plain; charset=utf-8", line, strlen(line));
}

static enum MHD_Result reply_metrics(struct ctl_metrics_server *server, struct MHD_Connection *connection) {
        zp_autobuffer struct zp_buffer text = { 0 };
        if (!server->options.write(server->options.context, &text) || !text.data)
                return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return reply(connection, MHD_HTTP_OK, ZP_PROMETHEUS_TYPE, text.data, text.size);
}

static enum MHD_Result reply_ready(struct ctl_metrics_server *server, struct MHD_Connection *connection) {
        const char *unready = server->options.unready(server->options.context);
        return reply_words(connection, unready ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, unready ? unready : "ok");
}

/* Called with each request's headers, and again at its end: a body is nothing anybody wants. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state) {
        static int seen;
        (void) version;
        (void) body;
        if (!*state || *body_size) {
                *state = &seen;
                *body_size = 0;
                return MHD_YES;
        }
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET is all there is");
        if (strcmp(path, "/metrics") == 0)
                return reply_metrics(context, connection);
        if (strcmp(path, "/readyz") == 0)
                return reply_ready(context, connection);
        if (strcmp(path, "/healthz") == 0)
                return reply_words(connection, MHD_HTTP_OK, "ok");
        return reply_words(connection, MHD_HTTP_NOT_FOUND, "there are /metrics, /healthz and /readyz");
}

int ctl_metrics_server_new(const struct ctl_metrics_options *options, struct ctl_metrics_server **out, unsigned *port,
                           struct zp_error *err) {
        zp_auto(ctl_metrics_server_free) struct ctl_metrics_server *server = calloc(1, sizeof *server);
        struct zp_listener listener;
        if (!server)
                return zp_error_errno(err, ENOMEM, "metrics");
        server->options = *options;
        int r = zp_listen(options->listen, &listener, err);
        if (r < 0)
                return zp_error_wrap(err, "metrics");
        /* with epoll, a client that is gone before its request is whole keeps its place */
        server->daemon = MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD, 0, NULL, NULL, handle, server,
                                          MHD_OPTION_LISTEN_SOCKET, listener.fd, MHD_OPTION_CONNECTION_LIMIT,
                                          CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) MEMORY_MAX,
                                          MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
        if (!server->daemon) {
                close(listener.fd);
                return zp_error_set(err, EIO, "metrics: the HTTP server does not start");
        }
        *port = listener.port;
        *out = zp_steal(&server);
        return 0;
}

void ctl_metrics_server_free(struct ctl_metrics_server *server) {
        if (!server)
                return;
        if (server->daemon)
                MHD_stop_daemon(server->daemon);
        free(server);
}
