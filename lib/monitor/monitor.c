/* SPDX-License-Identifier: Apache-2.0 */
#include "monitor/monitor.h"

#include <microhttpd.h>

#include "base/prometheus.h"
#include "oci/listen.h"

#define CONNECTIONS_MAX 64
#define IDLE_S 10
#define MEMORY_MAX 16384

struct zp_monitor {
        struct MHD_Daemon *daemon;
        struct zp_monitor_options options;
};

/* Takes the text over. */
static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type,
                             struct zp_buffer *text) {
        struct MHD_Response *response = MHD_create_response_from_buffer(text->size, text->data, MHD_RESPMEM_MUST_FREE);
        if (!response)
                return MHD_NO;
        *text = (struct zp_buffer){ 0 };
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        enum MHD_Result r = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return r;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned status, const char *words) {
        zp_autobuffer struct zp_buffer text = { 0 };
        if (!zp_buffer_text(&text, words) || !zp_buffer_text(&text, "\n"))
                return MHD_NO;
        return reply(connection, status, "text/plain; charset=utf-8", &text);
}

static enum MHD_Result reply_metrics(const struct zp_monitor_options *options, struct MHD_Connection *connection) {
        zp_autobuffer struct zp_buffer text = { 0 };
        if (!options->metrics(options->context, &text))
                return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory");
        return reply(connection, MHD_HTTP_OK, ZP_PROMETHEUS_TYPE, &text);
}

static enum MHD_Result reply_state(struct MHD_Connection *connection, const char *trouble) {
        return reply_words(connection, trouble ? MHD_HTTP_SERVICE_UNAVAILABLE : MHD_HTTP_OK, trouble ? trouble : "ok");
}

/* Called with each request's headers, and again at its end: a body is nothing anybody wants. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state) {
        static int seen;
        const struct zp_monitor_options *options = &((struct zp_monitor *) context)->options;
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
                return reply_metrics(options, connection);
        if (strcmp(path, "/healthz") == 0)
                return reply_state(connection, options->unhealthy ? options->unhealthy(options->context) : NULL);
        if (options->unready && strcmp(path, "/readyz") == 0)
                return reply_state(connection, options->unready(options->context));
        return reply_words(connection, MHD_HTTP_NOT_FOUND,
                           options->unready ? "there are /metrics, /healthz and /readyz"
                                            : "there are /metrics and /healthz");
}

__attribute__((format(printf, 2, 0))) static void log_mhd(void *context, const char *format, va_list args) {
        const struct zp_monitor *monitor = context;
        char text[512];
        vsnprintf(text, sizeof text, format, args);
        text[strcspn(text, "\n")] = '\0';
        zp_notice_tell(&monitor->options.notice, "%s", text);
}

int zp_monitor_new(const struct zp_monitor_options *options, struct zp_monitor **out, unsigned *port,
                   struct zp_error *err) {
        zp_auto(zp_monitor_free) struct zp_monitor *monitor = calloc(1, sizeof *monitor);
        struct zp_listener listener;
        if (!monitor)
                return zp_error_errno(err, ENOMEM, "metrics");
        monitor->options = *options;
        int r = zp_listen(options->listen, &listener, err);
        if (r < 0)
                return zp_error_wrap(err, "metrics");
        monitor->daemon =
                /* with epoll, a client that is gone before its request is whole keeps its place */
                MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, monitor,
                                 MHD_OPTION_EXTERNAL_LOGGER, log_mhd, monitor, MHD_OPTION_LISTEN_SOCKET, listener.fd,
                                 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t) MEMORY_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
        if (!monitor->daemon) {
                close(listener.fd);
                return zp_error_set(err, EIO, "metrics: the HTTP server does not start");
        }
        *port = listener.port;
        *out = zp_steal(&monitor);
        return 0;
}

void zp_monitor_free(struct zp_monitor *monitor) {
        if (!monitor)
                return;
        if (monitor->daemon)
                MHD_stop_daemon(monitor->daemon);
        free(monitor);
}
