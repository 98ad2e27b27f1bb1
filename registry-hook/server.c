/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/server.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"
#include "oci/listen.h"
#include "oci/url.h"
#include "registry-hook/clock.h"
#include "registry-hook/connections.h"
#include "registry-hook/log.h"

/* Of all headers of a request; MHD answers 431 beyond. */
#define HEADERS_MAX 32768
/* Answers are made by so many threads. What strangers may ask for waits for nothing; what bearers of tokens ask waits
 * for the database. */
#define THREADS 2
/* From a connection's first byte, or its last answer, to a whole request, however much of it is only thrown away. */
#define PATIENCE_MS 30000
/* Of all bodies larger than SMALL_BODY together; smaller ones are bounded by the number of connections, so that nobody
 * keeps out a usual notification with large ones that never end. */
#define SMALL_BODY (1u << 20)
#define LARGE_BODIES_MAX (128u << 20)
#define CERTIFICATE_MAX (1u << 20)
#define BODY_TOO_LARGE "the body is larger than 'limits: {body: …}' allows"

struct hook_server {
        struct hook_service *service;
        struct MHD_Daemon *daemon;
        struct hook_connections *connections;
        char *certificate, *key;
        unsigned port;
        bool is_loopback;
        atomic_size_t large_bodies; /* bytes reserved */
        struct hook_log_quota refusals, complaints;
        pthread_mutex_t lock;
        pthread_cond_t wake;
        size_t suspended; /* guarded by lock, as is this */
        bool is_ending;
};

/* ---- waiting ---- */

bool hook_suspend(struct hook_server *server, struct MHD_Connection *connection) {
        pthread_mutex_lock(&server->lock);
        bool may = !server->is_ending;
        server->suspended += may;
        pthread_mutex_unlock(&server->lock);
        if (may)
                MHD_suspend_connection(connection);
        return may;
}

void hook_resume(struct hook_server *server, struct MHD_Connection *connection) {
        MHD_resume_connection(connection);
        pthread_mutex_lock(&server->lock);
        if (--server->suspended == 0)
                pthread_cond_broadcast(&server->wake);
        pthread_mutex_unlock(&server->lock);
}

/* The library insists that nobody is suspended when it stops. */
static void await_suspended(struct hook_server *server) {
        pthread_mutex_lock(&server->lock);
        server->is_ending = true;
        while (server->suspended > 0)
                pthread_cond_wait(&server->wake, &server->lock);
        pthread_mutex_unlock(&server->lock);
}

/* ---- who may do what ---- */

static const char *header(const struct hook_exchange *x, const char *name) {
        return MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, name);
}

static const char *bearer(const struct hook_exchange *x) {
        const char *value = header(x, "Authorization");
        if (!value || strncasecmp(value, "Bearer ", 7) != 0)
                return NULL;
        for (value += 7; *value == ' '; value++)
                continue;
        return value;
}

/* A page from elsewhere, open in the browser of somebody who may reach us, must not act in his name: neither by a
 * request across origins, nor by a name of its own that leads to this machine. `url` is our own name, by which a proxy
 * before us is asked. */
static bool is_foreign(const struct hook_exchange *x) {
        const char *host = header(x, "Host"), *origin = header(x, "Origin"), *own = x->config->url;
        if (x->server->is_loopback && host && !zp_is_loopback(host) && !(own && zp_url_is_at(own, host)))
                return true;
        if (!origin || strcmp(x->method, "GET") == 0 || (own && zp_url_same_origin(origin, own)))
                return false;
        char from[ZP_URL_HOST_SIZE];
        return !host || strcasecmp(zp_url_host(origin, from), host) != 0;
}

static unsigned check_role(struct hook_exchange *x, const char **reason) {
        const char *token = bearer(x);
        x->role = hook_config_role(x->config, token, &x->who);
        if (is_foreign(x)) {
                *reason = "asked by a page from elsewhere, or for a host that is not ours: a proxy's belongs in 'url'";
                return 403;
        }
        if (x->role >= x->route->role)
                return 0;
        *reason = x->role == HOOK_NOBODY ? "no token, or not a valid one" : "the token's role does not allow this";
        return x->role == HOOK_NOBODY ? 401 : 403;
}

/* ---- a request ---- */

static void drop_body(struct hook_exchange *x) {
        zp_buffer_clear(&x->body);
        atomic_fetch_sub(&x->server->large_bodies, x->reserved);
        x->reserved = 0;
}

static void end_exchange(struct hook_exchange *x) {
        if (x->state)
                x->free_state(x->state);
        if (x->config)
                hook_config_drop(x->config);
        drop_body(x);
        free(x);
}

static struct hook_connection *watched(struct MHD_Connection *connection) {
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        return info ? info->socket_context : NULL;
}

/* A notification that is refused for its size is one that its registry may send again for ever: not to be overlooked.
 */
static void refuse_body(struct hook_exchange *x, unsigned status, const char *reason) {
        x->refusal = status;
        x->refusal_reason = reason;
        drop_body(x);
        if (x->route->run != hook_receive)
                return;
        atomic_fetch_add(&x->service->counters.refused, 1);
        hook_log_seldom(&x->server->refusals, HOOK_LOG_WARNING, "hooks/%s: %u: %s", x->argument, status, reason);
}

static void begin(struct hook_exchange *x) {
        const char *length = header(x, "Content-Length");
        x->refusal_reason = "there is no such thing";
        x->refusal = hook_find_route(x);
        if (x->refusal == 405)
                x->refusal_reason = "there is something, but not for this method";
        if (x->refusal == 0)
                x->refusal = check_role(x, &x->refusal_reason);
        if (x->refusal == 0 && length && (strlen(length) > 18 || atoll(length) > x->config->body_size))
                refuse_body(x, 413, BODY_TOO_LARGE);
}

/* Whether there is room for a body of that size so far. */
static bool reserve(struct hook_exchange *x, size_t size) {
        atomic_size_t *all = &x->server->large_bodies;
        size_t more = size - x->reserved;
        if (size <= SMALL_BODY)
                return true;
        if (atomic_fetch_add(all, more) + more > LARGE_BODIES_MAX) {
                atomic_fetch_sub(all, more);
                return false;
        }
        x->reserved = size;
        return true;
}

/* Of a request that is refused the body is read all the same, as long as anybody may take for a request: a client that
 * is still sending when the connection closes may never see the answer. */
static enum MHD_Result take_body(struct hook_exchange *x, const char *data, size_t *size) {
        if (!x->refusal && x->body.size + *size > (size_t) x->config->body_size)
                refuse_body(x, 413, BODY_TOO_LARGE);
        else if (!x->refusal && !reserve(x, x->body.size + *size))
                refuse_body(x, 503, "too many large bodies at once");
        if (!x->refusal && !zp_buffer_append(&x->body, data, *size))
                return MHD_NO;
        *size = 0;
        return MHD_YES;
}

/* The client sends no body before it is told to. */
static bool awaits_leave(const struct hook_exchange *x) {
        const char *expected = header(x, "Expect");
        return expected && strcasecmp(expected, "100-continue") == 0;
}

static enum MHD_Result refuse(struct hook_exchange *x) {
        return hook_reply_error(x, x->refusal, "%s", x->refusal_reason);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                              const char *version, const char *data, size_t *size, void **exchange) {
        struct hook_server *server = context;
        struct hook_exchange *x = *exchange;
        (void) version;
        if (!x) {
                x = calloc(1, sizeof *x);
                if (!x)
                        return MHD_NO;
                *exchange = x;
                *x = (struct hook_exchange){ .server = server,
                                             .service = server->service,
                                             .connection = connection,
                                             .method = method,
                                             .path = url,
                                             .started_ms = hook_monotonic_ms() };
                x->config = hook_current_hold(server->service->current);
                atomic_fetch_add(&server->service->counters.requests, 1);
                begin(x);
                return x->refusal && awaits_leave(x) ? refuse(x) : MHD_YES;
        }
        if (*size > 0)
                return take_body(x, data, size);
        if (x->refusal)
                return refuse(x);
        hook_connections_set_waiting(server->connections, watched(connection), false);
        return x->route->run(x);
}

static void completed(void *context, struct MHD_Connection *connection, void **exchange,
                      enum MHD_RequestTerminationCode code) {
        struct hook_server *server = context;
        (void) code;
        if (*exchange)
                end_exchange(*exchange);
        *exchange = NULL;
        hook_connections_set_waiting(server->connections, watched(connection), true);
}

static void connection_changed(void *context, struct MHD_Connection *connection, void **state,
                               enum MHD_ConnectionNotificationCode code) {
        struct hook_server *server = context;
        const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (code == MHD_CONNECTION_NOTIFY_STARTED)
                *state = info ? hook_connections_add(server->connections, info->connect_fd) : NULL;
        else
                hook_connections_remove(server->connections, *state);
}

__attribute__((format(printf, 2, 0))) static void log_mhd(void *context, const char *format, va_list args) {
        struct hook_server *server = context;
        char text[512];
        vsnprintf(text, sizeof text, format, args);
        text[strcspn(text, "\n")] = '\0';
        hook_log_seldom(&server->complaints, HOOK_LOG_WARNING, "http: %s", text);
}

/* ---- starting ---- */

static int load_tls(struct hook_server *server, const struct hook_config *config, struct zp_error *err) {
        size_t size;
        if (!config->tls_certificate)
                return 0;
        int r = zp_read_file(AT_FDCWD, config->tls_certificate, CERTIFICATE_MAX, &server->certificate, &size, err);
        return r < 0 ? r : zp_read_file(AT_FDCWD, config->tls_key, CERTIFICATE_MAX, &server->key, &size, err);
}

static int start(struct hook_server *server, const struct hook_config *config, struct zp_error *err) {
        struct zp_listener listener = { .fd = -1 };
        int r = hook_connections_new(PATIENCE_MS, (size_t) config->connections / 4 * 3, &server->connections, err);
        if (r == 0)
                r = load_tls(server, config, err);
        if (r == 0)
                r = zp_listen(config->listen, &listener, err);
        if (r < 0)
                return r;
        server->port = listener.port;
        server->is_loopback = listener.is_loopback;
        struct MHD_OptionItem tls[] = { { MHD_OPTION_HTTPS_MEM_CERT, 0, server->certificate },
                                        { MHD_OPTION_HTTPS_MEM_KEY, 0, server->key },
                                        { MHD_OPTION_END, 0, NULL } };
        struct MHD_OptionItem none[] = { { MHD_OPTION_END, 0, NULL } };
        /* not by epoll: when exactly 128 events have come at once, that of the library (0.9.75) waits for another
         * before it looks at any, and a thread may well have 128 clients */
        server->daemon = MHD_start_daemon(
                MHD_USE_POLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG |
                        (server->certificate ? MHD_USE_TLS : 0),
                0, NULL, NULL, handle, server, MHD_OPTION_EXTERNAL_LOGGER, log_mhd, server, MHD_OPTION_LISTEN_SOCKET,
                listener.fd, MHD_OPTION_THREAD_POOL_SIZE, THREADS, MHD_OPTION_CONNECTION_LIMIT,
                (unsigned) config->connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HEADERS_MAX,
                MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) (config->idle_ms / 1000), MHD_OPTION_NOTIFY_COMPLETED,
                completed, server, MHD_OPTION_NOTIFY_CONNECTION, connection_changed, server, MHD_OPTION_ARRAY,
                server->certificate ? tls : none, MHD_OPTION_END);
        if (server->daemon)
                return 0;
        close(listener.fd);
        return zp_error_set(err, EIO, "listen '%s': the HTTP server does not start%s", config->listen,
                            server->certificate ? " (is the certificate in order?)" : "");
}

int hook_server_new(struct hook_service *service, struct hook_server **out, struct zp_error *err) {
        zp_auto(hook_config_drop) struct hook_config *config = hook_current_hold(service->current);
        struct hook_server *server = calloc(1, sizeof *server);
        if (!server)
                return zp_error_errno(err, ENOMEM, "server");
        server->service = service;
        pthread_mutex_init(&server->lock, NULL);
        pthread_cond_init(&server->wake, NULL);
        int r = start(server, config, err);
        if (r < 0)
                hook_server_free(server);
        else
                *out = server;
        return r;
}

unsigned hook_server_port(const struct hook_server *server) {
        return server->port;
}

void hook_server_tick(struct hook_server *server) {
        hook_connections_end_slow(server->connections, hook_monotonic_ms());
}

void hook_server_free(struct hook_server *server) {
        if (server->daemon) {
                await_suspended(server);
                MHD_stop_daemon(server->daemon);
        }
        if (server->connections)
                hook_connections_free(server->connections);
        free(server->certificate);
        zp_secret_free(server->key);
        pthread_cond_destroy(&server->wake);
        pthread_mutex_destroy(&server->lock);
        free(server);
}
