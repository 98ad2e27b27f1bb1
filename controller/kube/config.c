/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/config.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "controller/kube/kube-internal.h"
#include "oci/url.h"

#define SERVICE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"
#define NAMESPACE_MAX 4096

static int config_new(struct zp_kube_config **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "kubeconfig");
}

void zp_kube_config_free(struct zp_kube_config *config) {
        zp_arena_clear(&config->arena);
        free(config);
}

const char *zp_kube_config_server(const struct zp_kube_config *config) {
        return config->cluster.server;
}

const char *zp_kube_config_namespace(const struct zp_kube_config *config) {
        return config->namespace ? config->namespace : "default";
}

static bool has_credentials(const struct zp_kube_user *user) {
        return user->certificate.text || user->certificate.file || user->token || user->token_file || user->username ||
               user->exec.command;
}

int zp_kube_config_check(const struct zp_kube_config *config, struct zp_error *err) {
        const char *server = config->cluster.server;
        const struct zp_kube_user *user = &config->user;
        bool is_http = strncmp(server, "http://", 7) == 0;
        const char *host = strstr(server, "://");
        if ((!is_http && strncmp(server, "https://", 8) != 0) || host[3] == '\0' || host[3] == '/')
                return zp_error_set(err, EINVAL, "kubeconfig: server '%.200s' is not an https URL", server);
        for (const char *c = host + 3; *c; c++)
                if ((unsigned char) *c <= ' ' || strchr("@?#\\\x7f", *c))
                        return zp_error_set(err, EINVAL, "kubeconfig: the server's URL is more than an address");
        if (is_http && has_credentials(user) && !zp_url_is_loopback(server))
                return zp_error_set(err, EINVAL,
                                    "kubeconfig: '%.200s' is plain HTTP, and credentials would be readable", server);
        if (!(user->certificate.text || user->certificate.file) != !(user->key.text || user->key.file))
                return zp_error_set(err, EINVAL, "kubeconfig: a client certificate and its key come together only");
        if (config->cluster.skip_tls_verify && (config->cluster.authority.text || config->cluster.authority.file))
                return zp_error_set(err, EINVAL, "kubeconfig: an authority, and not to verify certificates: which?");
        return 0;
}

/* ---- a pod's ---- */

static int read_namespace(struct zp_kube_config *config, const char *directory, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/namespace", directory), *text = NULL;
        size_t size;
        if (!path)
                return zp_error_errno(err, ENOMEM, "namespace");
        int r = zp_read_file(AT_FDCWD, path, NAMESPACE_MAX, &text, &size, err);
        if (r < 0)
                return r;
        config->namespace = zp_arena_copy(&config->arena, text, strcspn(text, " \t\r\n"));
        return config->namespace ? 0 : zp_error_errno(err, ENOMEM, "'%s'", path);
}

static const char *keep_format(struct zp_kube_config *config, char *text) {
        zp_autofree char *taken = text;
        return taken ? zp_arena_copy(&config->arena, taken, strlen(taken)) : NULL;
}

int zp_kube_config_in_cluster(const char *directory, const char *host, const char *port, struct zp_kube_config **out,
                              struct zp_error *err) {
        zp_auto(zp_kube_config_free) struct zp_kube_config *config = NULL;
        int r = config_new(&config, err);
        if (r < 0)
                return r;
        bool is_ipv6 = strchr(host, ':') && host[0] != '[';
        config->cluster.server =
                keep_format(config, zp_format(is_ipv6 ? "https://[%s]:%s" : "https://%s:%s", host, port));
        config->cluster.authority.file = keep_format(config, zp_format("%s/ca.crt", directory));
        config->user.token_file = keep_format(config, zp_format("%s/token", directory));
        if (!config->cluster.server || !config->cluster.authority.file || !config->user.token_file)
                return zp_error_errno(err, ENOMEM, "the pod's service account");
        r = read_namespace(config, directory, err);
        if (r == 0)
                r = zp_kube_config_check(config, err);
        if (r < 0) {
                zp_error_wrap(err, "the pod's service account");
                return r;
        }
        *out = zp_steal(&config);
        return 0;
}

/* ---- kubeconfigs ---- */

static int parse_file(struct zp_kube_files *files, const char *path, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, KUBE_FILE_MAX, &text, &size, err);
        if (r == 0)
                r = zp_kube_files_parse(files, text, size, path, err);
        if (text)
                explicit_bzero(text, size);
        return r;
}

/* `list`: paths with ':' between; those that are not there are left out when `is_list`. */
static int load_files(const char *list, bool is_list, const char *context, struct zp_kube_config **out,
                      struct zp_error *err) {
        zp_auto(zp_kube_config_free) struct zp_kube_config *config = NULL;
        zp_autofree char *paths = strdup(list);
        int r = config_new(&config, err);
        struct zp_kube_files *files = r == 0 && paths ? zp_kube_files_new(&config->arena) : NULL;
        if (!files)
                return zp_error_errno(err, ENOMEM, "kubeconfig");
        unsigned found = 0;
        char *rest = paths;
        while (r == 0 && rest) {
                const char *path = is_list ? strsep(&rest, ":") : zp_steal(&rest);
                if (path[0] == '\0')
                        continue;
                r = parse_file(files, path, err);
                found += r == 0;
                if (r == -ENOENT && is_list)
                        r = 0;
        }
        if (r < 0)
                return r;
        if (found == 0)
                return zp_error_set(err, ENOENT, "none of the files of $KUBECONFIG is there: %.400s", list);
        zp_error_clear(err);
        r = zp_kube_files_choose(files, context, config, err);
        if (r == 0)
                r = zp_kube_config_check(config, err);
        if (r == 0)
                *out = zp_steal(&config);
        return r;
}

int zp_kube_config_load(const struct zp_kube_config_choice *choice, struct zp_kube_config **out, struct zp_error *err) {
        struct zp_error ignored = { 0 };
        err = err ? err : &ignored;
        if (choice->kubeconfig && choice->kubeconfig[0])
                return load_files(choice->kubeconfig, false, choice->context, out, err);
        const char *list = getenv("KUBECONFIG");
        if (list && list[0])
                return load_files(list, true, choice->context, out, err);
        const char *host = getenv("KUBERNETES_SERVICE_HOST"), *port = getenv("KUBERNETES_SERVICE_PORT");
        if (host && host[0] && port && port[0] && access(SERVICE_ACCOUNT "/token", F_OK) == 0)
                return zp_kube_config_in_cluster(SERVICE_ACCOUNT, host, port, out, err);
        const char *home = getenv("HOME");
        zp_autofree char *path = home && home[0] ? zp_format("%s/.kube/config", home) : NULL;
        if (path && access(path, F_OK) == 0)
                return load_files(path, false, choice->context, out, err);
        zp_error_set(err, ENOENT, "no Kubernetes: neither a kubeconfig nor a pod's service account");
        zp_error_hint(err, "name a kubeconfig with --kubeconfig or $KUBECONFIG");
        return -ENOENT;
}
