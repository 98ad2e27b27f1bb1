/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that prints credentials (https://kubernetes.io/docs/reference/access-authn-authz/authentication/,
 * "client-go credential plugins").
 */
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include <openssl/evp.h>

#include "controller/kube/kube-internal.h"
#include "oci/helper-program.h"

#define VARIABLE "KUBERNETES_EXEC_INFO"

extern char **environ;

/* ---- what it is told ---- */

static int set_text(json_t *object, const char *key, const char *text) {
        return text ? json_object_set_new(object, key, json_string(text)) : 0;
}

static json_t *describe_cluster(const struct zp_kube_cluster *cluster, const char *authority) {
        json_t *object = json_pack("{s:s}", "server", cluster->server);
        int failures = set_text(object, "tls-server-name", cluster->tls_server_name) +
                       set_text(object, "proxy-url", cluster->proxy);
        if (cluster->skip_tls_verify)
                failures += json_object_set_new(object, "insecure-skip-tls-verify", json_true());
        if (authority) {
                zp_autofree unsigned char *text = malloc(strlen(authority) / 3 * 4 + 8);
                if (text)
                        EVP_EncodeBlock(text, (const unsigned char *) authority, (int) strlen(authority));
                failures += text ? set_text(object, "certificate-authority-data", (char *) text) : -1;
        }
        if (failures == 0)
                return object;
        json_decref(object);
        return NULL;
}

static char *make_variable(const struct zp_kube_config *config, const char *authority) {
        const struct zp_kube_exec *exec = &config->user.exec;
        zp_auto(json_decref) json_t *info = json_pack("{s:s, s:s, s:{s:b}}", "apiVersion", exec->api_version, "kind",
                                                      "ExecCredential", "spec", "interactive", 0);
        if (info && exec->wants_cluster &&
            json_object_set_new(json_object_get(info, "spec"), "cluster",
                                describe_cluster(&config->cluster, authority)) < 0)
                return NULL;
        zp_autofree char *text = info ? json_dumps(info, JSON_COMPACT) : NULL;
        return text ? zp_format(VARIABLE "=%s", text) : NULL;
}

static bool has_name_of(const char *variable, const char *other) {
        size_t size = strcspn(other, "=") + 1;
        return strncmp(variable, other, size) == 0;
}

static bool is_replaced(const char *variable, char *const *by) {
        for (; *by; by++)
                if (has_name_of(variable, *by))
                        return true;
        return has_name_of(variable, VARIABLE "=");
}

/* The process's environment with the plugin's in it; the array is malloc'ed, its strings are others'. */
static char **make_environment(const struct zp_kube_exec *exec, char *variable) {
        size_t count = 2, n = 0;
        for (char **v = environ; *v; v++)
                count++;
        for (char **v = exec->environment; *v; v++)
                count++;
        char **out = calloc(count, sizeof *out);
        if (!out)
                return NULL;
        out[n++] = variable;
        for (char **v = exec->environment; *v; v++)
                out[n++] = *v;
        for (char **v = environ; *v; v++)
                if (!is_replaced(*v, exec->environment))
                        out[n++] = *v;
        return out;
}

/* ---- what it says ---- */

static int parse_time(const char *text, int64_t *out) {
        struct tm t = { 0 };
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &t);
        if (!rest)
                return -EBADMSG;
        if (*rest == '.')
                rest += 1 + strspn(rest + 1, "0123456789");
        int hours = 0, minutes = 0, used = 0;
        if ((*rest == '+' || *rest == '-') && sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) == 2 &&
            rest[1 + used] == '\0') {
                int64_t offset = hours * 3600 + minutes * 60;
                *out = timegm(&t) - (*rest == '+' ? offset : -offset);
                return 0;
        }
        *out = timegm(&t);
        return strcmp(rest, "Z") == 0 ? 0 : -EBADMSG;
}

static int copy_member(json_t *status, const char *key, const char *what, char **out, struct zp_error *err) {
        const char *text;
        int r = zp_json_text(status, key, ZP_JSON_OPTIONAL, what, &text, err);
        if (r < 0 || !text)
                return r;
        *out = strdup(text);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "%s", what);
}

static int parse_status(json_t *status, const char *what, struct zp_kube_material *out, struct zp_error *err) {
        const char *token, *expires;
        int r = zp_json_text(status, "token", ZP_JSON_OPTIONAL, what, &token, err);
        if (r == 0 && token)
                r = zp_kube_bearer(token, what, &out->authorization, err);
        if (r == 0)
                r = copy_member(status, "clientCertificateData", what, &out->certificate, err);
        if (r == 0)
                r = copy_member(status, "clientKeyData", what, &out->key, err);
        if (r == 0)
                r = zp_json_text(status, "expirationTimestamp", ZP_JSON_OPTIONAL, what, &expires, err);
        if (r < 0)
                return r;
        if (expires && parse_time(expires, &out->expires_s) < 0)
                return zp_error_set(err, EBADMSG, "%s: 'expirationTimestamp' is not a time", what);
        if (!out->certificate != !out->key)
                return zp_error_set(err, EBADMSG, "%s: a certificate and its key come together only", what);
        if (!out->authorization && !out->certificate)
                return zp_error_set(err, EBADMSG, "%s: neither a token nor a certificate", what);
        return 0;
}

int zp_kube_exec_parse(const struct zp_kube_exec *exec, const char *text, size_t size, struct zp_kube_material *out,
                       struct zp_error *err) {
        const char *what = exec->command, *kind, *version;
        zp_auto(json_decref) json_t *json = NULL;
        json_t *status;
        int r = zp_json_load(text, size, what, &json, err);
        if (r == 0)
                r = zp_json_text(json, "kind", ZP_JSON_REQUIRED, what, &kind, err);
        if (r == 0)
                r = zp_json_text(json, "apiVersion", ZP_JSON_REQUIRED, what, &version, err);
        if (r == 0)
                r = zp_json_get(json, "status", JSON_OBJECT, ZP_JSON_REQUIRED, what, &status, err);
        if (r < 0)
                return r;
        if (strcmp(kind, "ExecCredential") != 0 || strcmp(version, exec->api_version) != 0)
                return zp_error_set(err, EBADMSG, "%s: printed something else than an ExecCredential of %s", what,
                                    exec->api_version);
        return parse_status(status, what, out, err);
}

int zp_kube_exec_run(const struct zp_kube_config *config, const char *authority, const struct zp_cancel *cancel,
                     struct zp_kube_material *out, struct zp_error *err) {
        const struct zp_kube_exec *exec = &config->user.exec;
        zp_autofree char *variable = make_variable(config, authority);
        zp_autofree char **environment = variable ? make_environment(exec, variable) : NULL;
        if (!environment)
                return zp_error_errno(err, ENOMEM, "%s", exec->command);
        const struct zp_helper_program program = {
                .arguments = exec->arguments,
                .environment = environment,
                .input = "",
                .missing_hint = "the kubeconfig names this program for its user; install it, or use another user",
        };
        zp_autobuffer struct zp_buffer text = { 0 };
        int status, r = zp_helper_program_run(&program, cancel, &text, &status, err);
        if (r == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
                r = zp_error_set(err, EACCES, "%s: %s %d", exec->command,
                                 WIFEXITED(status) ? "failed with status" : "was killed by signal",
                                 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
        if (r == 0)
                r = zp_kube_exec_parse(exec, text.data ? text.data : "", text.size, out, err);
        if (text.data)
                explicit_bzero(text.data, text.size);
        return r;
}
