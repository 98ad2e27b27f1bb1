/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections with the credentials that are good now. When those change, new requests go by a new session; what is
 * under way on the old one ends there.
 */
#include <string.h>
#include <time.h>

#include "controller/kube/kube-internal.h"

#define CHECK_INTERVAL_MS 60000
#define EXPIRED_INTERVAL_MS 5000
/* What a server needs to begin its answer; a watch has a patience of its own. */
#define STALL_TIMEOUT_MS 30000

/* Takes "https://HOST[:PORT]/PATH" apart, and puts it together with the name that the certificate has. */
static int make_base(struct zp_kube_session *session, const struct zp_kube_cluster *cluster, struct zp_error *err) {
        const char *host = strstr(cluster->server, "://") + 3;
        size_t host_size = strcspn(host, "/"), size = strlen(cluster->server);
        while (size > 0 && cluster->server[size - 1] == '/')
                size--;
        size_t before = (size_t) (host - cluster->server);
        const char *path = host + host_size, *name = cluster->tls_server_name;
        const char *colon = memrchr(host, ':', host_size), *bracket = memrchr(host, ']', host_size);
        bool has_port = colon && (!bracket || colon > bracket);
        bool is_http = before == strlen("http://");
        if (!name) {
                session->base = strndup(cluster->server, size);
                session->host = strndup(host, host_size);
        } else {
                const char *port = has_port ? colon : is_http ? ":80" : ":443";
                int port_size = has_port ? (int) (host + host_size - colon) : (int) strlen(port);
                int path_size = (int) (cluster->server + size - path);
                session->host = zp_format("%s%.*s", name, port_size, port);
                session->base = zp_format("%.*s%s%.*s", (int) before, cluster->server,
                                          session->host ? session->host : "", path_size > 0 ? path_size : 0, path);
                session->connect_to = zp_format(has_port ? "%.*s" : "%.*s%s", (int) host_size, host, port);
                session->host_header = zp_format("Host: %.*s", (int) host_size, host);
        }
        bool is_whole = session->base && session->host && (!name || (session->connect_to && session->host_header));
        return is_whole ? 0 : zp_error_errno(err, ENOMEM, "HTTP client");
}

void zp_kube_session_free(struct zp_kube_session *session) {
        if (session->http)
                zp_http_free(session->http);
        zp_kube_material_clear(&session->material);
        free(session->base);
        free(session->host);
        free(session->connect_to);
        free(session->host_header);
        free(session);
}
ZP_DEFINE_AUTO(struct zp_kube_session, zp_kube_session_free);

int zp_kube_session_new(const struct zp_kube_options *options, struct zp_kube_material *material,
                        struct zp_kube_session **out, struct zp_error *err) {
        const struct zp_kube_cluster *cluster = &options->config->cluster;
        zp_auto(zp_kube_session_free) struct zp_kube_session *session = calloc(1, sizeof *session);
        if (!session) {
                zp_kube_material_clear(material);
                return zp_error_errno(err, ENOMEM, "HTTP client");
        }
        session->references = 1;
        session->material = *material;
        *material = (struct zp_kube_material){ 0 };
        int r = make_base(session, cluster, err);
        if (r < 0)
                return r;
        const struct zp_http_options http = {
                .user_agent = options->user_agent,
                .ca_pem = session->material.authority,
                .is_ca_pem_alone = session->material.authority,
                .own = { .host = session->host,
                         .client_pem = session->material.certificate,
                         .client_key_pem = session->material.key,
                         .proxy = cluster->proxy,
                         .connect_to = session->connect_to,
                         .skip_tls_verify = cluster->skip_tls_verify },
                .stall_timeout_ms = STALL_TIMEOUT_MS,
                .cancel = options->cancel,
        };
        r = zp_http_new(&http, &session->http, err);
        if (r == 0)
                *out = zp_steal(&session);
        return r;
}

void zp_kube_session_give(struct zp_kube *kube, struct zp_kube_session *session) {
        pthread_mutex_lock(&kube->lock);
        bool is_last = --session->references == 0;
        pthread_mutex_unlock(&kube->lock);
        if (is_last)
                zp_kube_session_free(session);
}

static struct zp_kube_session *current(struct zp_kube *kube) {
        pthread_mutex_lock(&kube->lock);
        struct zp_kube_session *session = kube->session;
        session->references++;
        pthread_mutex_unlock(&kube->lock);
        return session;
}

static void checked(struct zp_kube *kube) {
        pthread_mutex_lock(&kube->lock);
        kube->checked_ms = zp_clock_ms();
        pthread_mutex_unlock(&kube->lock);
}

static void install(struct zp_kube *kube, struct zp_kube_session *session) {
        pthread_mutex_lock(&kube->lock);
        struct zp_kube_session *old = kube->session;
        session->number = old->number + 1;
        kube->session = session;
        pthread_mutex_unlock(&kube->lock);
        zp_kube_session_give(kube, old);
        atomic_fetch_add(&kube->reloads, 1);
}

/* With reload_lock held. False: nothing has changed, or it could not be read (the old stays). */
static bool reload(struct zp_kube *kube, bool is_refused) {
        struct zp_kube_session *old = current(kube), *new = NULL;
        struct zp_kube_material material;
        struct zp_error err = { 0 };
        int r = zp_kube_material_read(kube->options.config, is_refused ? NULL : &old->material, kube->options.cancel,
                                      &material, &err);
        bool is_new = r == 0 && !zp_kube_material_equal(&material, &old->material);
        if (is_new)
                r = zp_kube_session_new(&kube->options, &material, &new, &err);
        else if (r == 0)
                zp_kube_material_clear(&material);
        if (new)
                install(kube, new);
        else if (r < 0)
                zp_notice_tell(&kube->options.notice, "credentials: %s; the earlier ones stay", err.message);
        checked(kube);
        zp_kube_session_give(kube, old);
        return new;
}

struct zp_kube_session *zp_kube_session_take(struct zp_kube *kube) {
        pthread_mutex_lock(&kube->lock);
        int64_t expires_s = kube->session->material.expires_s;
        bool has_expired = expires_s && time(NULL) >= expires_s;
        bool is_due = zp_clock_ms() - kube->checked_ms >= (has_expired ? EXPIRED_INTERVAL_MS : CHECK_INTERVAL_MS);
        pthread_mutex_unlock(&kube->lock);
        if (is_due && pthread_mutex_trylock(&kube->reload_lock) == 0) { /* else another thread is at it */
                reload(kube, false);
                pthread_mutex_unlock(&kube->reload_lock);
        }
        return current(kube);
}

bool zp_kube_session_renew(struct zp_kube *kube, const struct zp_kube_session *session) {
        pthread_mutex_lock(&kube->reload_lock);
        struct zp_kube_session *now = current(kube);
        bool is_new = now->number != session->number || reload(kube, true);
        zp_kube_session_give(kube, now);
        pthread_mutex_unlock(&kube->reload_lock);
        return is_new;
}
