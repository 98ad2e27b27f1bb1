/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/metrics-server.h"

#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "oci/listen.h"
#include "snapshotter/control/log.h"

#define CONNECTIONS_MAX 64
#define IDLE_S 10
#define MEMORY_MAX 16384

struct snap_metrics_server {
        struct MHD_Daemon *daemon;
        struct snap_metrics_sources sources; /* used by the server's one thread */
        struct stat root;
};

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned status, const char *type, char *text,
                             size_t size) {
        enum MHD_ResponseMemoryMode mode = text ? MHD_RESPMEM_MUST_FREE : MHD_RESPMEM_PERSISTENT;
        struct MHD_Response *response = MHD_create_response_from_buffer(size, text ? text : (char *) "", mode);
        if (!response) {
                free(text);
                return MHD_NO;
        }
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
        enum MHD_Result r = MHD_queue_response(connection, status, response);
        MHD_destroy_response(response);
        return r;
}

static enum MHD_Result reply_words(struct MHD_Connection *connection, unsigned status, const char *words) {
        char *text = strdup(words);
        return reply(connection, text ? status : MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text,
                     text ? strlen(text) : 0);
}

static enum MHD_Result reply_metrics(struct snap_metrics_server *server, struct MHD_Connection *connection) {
        zp_autobuffer struct zp_buffer text = { 0 };
        struct zp_error err = { 0 };
        if (snap_metrics_text(&server->sources, &text, &err) < 0)
                return reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE, "out of memory\n");
        return reply(connection, MHD_HTTP_OK, ZP_PROMETHEUS_TYPE, zp_steal(&text.data), text.size);
}

/* The database is open, and the directory held, whatever their names are by now; mounts go by the names. */
static bool has_root(const struct snap_metrics_server *server) {
        struct stat root, database;
        zp_autoclose int fd = open(server->sources.root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd >= 0 && fstat(fd, &root) == 0 && root.st_dev == server->root.st_dev &&
               root.st_ino == server->root.st_ino && fstatat(fd, "metadata.db", &database, AT_SYMLINK_NOFOLLOW) == 0;
}

static enum MHD_Result reply_health(struct snap_metrics_server *server, struct MHD_Connection *connection) {
        return has_root(server) ? reply_words(connection, MHD_HTTP_OK, "ok\n")
                                : reply_words(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
                                              "the root directory, or its metadata.db, is gone or another one: put it "
                                              "back, and restart the daemon\n");
}

/* Called with each request's headers, and again at its end: a body is nothing anybody wants. */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state) {
        static int seen;
        (void) version;
        (void) body;
        if (!*state) {
                *state = &seen;
                return MHD_YES;
        }
        if (*body_size) {
                *body_size = 0;
                return MHD_YES;
        }
        if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
                return reply_words(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET is all there is\n");
        if (strcmp(path, "/metrics") == 0)
                return reply_metrics(context, connection);
        if (strcmp(path, "/healthz") == 0)
                return reply_health(context, connection);
        return reply_words(connection, MHD_HTTP_NOT_FOUND, "there are /metrics and /healthz\n");
}

__attribute__((format(printf, 2, 0))) static void log_mhd(void *context, const char *format, va_list args) {
        char text[512];
        (void) context;
        vsnprintf(text, sizeof text, format, args);
        text[strcspn(text, "\n")] = '\0';
        snap_log_event(SNAP_LOG_DEBUG, "metrics", "error", text, NULL);
}

int snap_metrics_server_new(const char *listen, const struct snap_metrics_sources *sources,
                            struct snap_metrics_server **out, unsigned *port, struct zp_error *err) {
        zp_auto(snap_metrics_server_free) struct snap_metrics_server *server = calloc(1, sizeof *server);
        struct zp_listener listener;
        if (!server)
                return zp_error_errno(err, ENOMEM, "metrics");
        server->sources = *sources;
        if (stat(sources->root, &server->root) < 0)
                return zp_error_errno(err, errno, "stat '%s'", sources->root);
        int r = zp_listen(listen, &listener, err);
        if (r < 0)
                return zp_error_wrap(err, "metrics");
        server->daemon =
                /* with epoll, a client that is gone before its request is whole keeps its place */
                MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL, handle, server,
                                 MHD_OPTION_EXTERNAL_LOGGER, log_mhd, NULL, MHD_OPTION_LISTEN_SOCKET, listener.fd,
                                 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                                 (size_t) MEMORY_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_END);
        if (!server->daemon) {
                close(listener.fd);
                return zp_error_set(err, EIO, "metrics: the HTTP server does not start");
        }
        *port = listener.port;
        *out = zp_steal(&server);
        return 0;
}

void snap_metrics_server_free(struct snap_metrics_server *server) {
        if (!server)
                return;
        if (server->daemon)
                MHD_stop_daemon(server->daemon);
        free(server);
}
