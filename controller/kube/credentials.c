/* SPDX-License-Identifier: Apache-2.0
 *
 * The files that a configuration names, as they are now. Nothing of what they hold gets into a message.
 */
#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>

#include "base/file.h"
#include "controller/kube/kube-internal.h"
#include "oci/authorization.h"

void zp_kube_material_clear(struct zp_kube_material *material) {
        zp_secret_free(material->authorization);
        zp_secret_free(material->authority);
        zp_secret_free(material->certificate);
        zp_secret_free(material->key);
        *material = (struct zp_kube_material){ 0 };
}

static bool same(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

bool zp_kube_material_equal(const struct zp_kube_material *a, const struct zp_kube_material *b) {
        return same(a->authorization, b->authorization) && same(a->authority, b->authority) &&
               same(a->certificate, b->certificate) && same(a->key, b->key) && a->expires_s == b->expires_s;
}

int zp_kube_bearer(const char *token, const char *from, char **out, struct zp_error *err) {
        while (isspace((unsigned char) *token))
                token++;
        size_t size = 0;
        while (token[size] > ' ' && token[size] < '\x7f')
                size++;
        if (size == 0 || token[size + strspn(token + size, " \t\r\n")] != '\0')
                return zp_error_set(err, EINVAL, "%s: %s", from, size ? "not a token" : "no token in it");
        *out = zp_format("Bearer %.*s", (int) size, token);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "%s", from);
}

static int read_text(const char *path, size_t limit, char **out, struct zp_error *err) {
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, limit, out, &size, err);
        if (r == 0 && strlen(*out) != size) {
                free(zp_steal(out));
                r = zp_error_set(err, EINVAL, "'%s': has a NUL in it", path);
        }
        return r;
}

static int read_pem(const struct zp_kube_pem *pem, char **out, struct zp_error *err) {
        if (pem->text) {
                *out = strdup(pem->text);
                return *out ? 0 : zp_error_errno(err, ENOMEM, "kubeconfig");
        }
        return pem->file ? read_text(pem->file, KUBE_FILE_MAX, out, err) : 0;
}

static int make_basic(const struct zp_kube_user *user, char **out, struct zp_error *err) {
        *out = zp_basic_authorization(user->username, user->password);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "kubeconfig");
}

static int read_authorization(const struct zp_kube_user *user, char **out, struct zp_error *err) {
        if (user->token_file) {
                struct zp_error *reason = user->token ? NULL : err; /* with a token, too, a file may be missing */
                zp_auto(zp_secret_free) char *text = NULL;
                int r = read_text(user->token_file, KUBE_TOKEN_MAX, &text, reason);
                if (r == 0)
                        r = zp_kube_bearer(text, user->token_file, out, reason);
                if (r == 0 || !user->token)
                        return r;
        }
        if (user->token)
                return zp_kube_bearer(user->token, "the kubeconfig's token", out, err);
        return user->username ? make_basic(user, out, err) : 0;
}

static char *copy(const char *text, bool *is_good) {
        char *copied = text ? strdup(text) : NULL;
        *is_good = *is_good && (copied || !text);
        return copied;
}

/* What an earlier run of the plugin gave, while it is good. */
static int keep_previous(const struct zp_kube_material *previous, struct zp_kube_material *out, struct zp_error *err) {
        bool is_good = true;
        out->authorization = copy(previous->authorization, &is_good);
        out->certificate = copy(previous->certificate, &is_good);
        out->key = copy(previous->key, &is_good);
        out->expires_s = previous->expires_s;
        return is_good ? 0 : zp_error_errno(err, ENOMEM, "credentials");
}

int zp_kube_material_read(const struct zp_kube_config *config, const struct zp_kube_material *previous,
                          const struct zp_cancel *cancel, struct zp_kube_material *out, struct zp_error *err) {
        const struct zp_kube_user *user = &config->user;
        *out = (struct zp_kube_material){ 0 };
        int r = read_pem(&config->cluster.authority, &out->authority, err);
        if (r == 0 && user->exec.command) {
                bool is_fresh = previous && (!previous->expires_s || time(NULL) < previous->expires_s);
                r = is_fresh ? keep_previous(previous, out, err)
                             : zp_kube_exec_run(config, out->authority, cancel, out, err);
        } else if (r == 0) {
                r = read_pem(&user->certificate, &out->certificate, err);
                if (r == 0)
                        r = read_pem(&user->key, &out->key, err);
                if (r == 0)
                        r = read_authorization(user, &out->authorization, err);
        }
        if (r < 0)
                zp_kube_material_clear(out);
        return r;
}
