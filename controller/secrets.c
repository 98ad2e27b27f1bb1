/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/secrets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/pull-secret.h"

void ctl_secrets_clear(struct ctl_secrets *secrets) {
        for (size_t i = 0; i < secrets->count; i++) {
                free(secrets->names[i]);
                zp_secret_free(secrets->configs[i]);
        }
        *secrets = (struct ctl_secrets){ 0 };
}

/* ---- which ---- */

static int add_name(struct ctl_secrets *secrets, const char *name, struct zp_error *err) {
        for (size_t i = 0; i < secrets->count; i++)
                if (strcmp(secrets->names[i], name) == 0)
                        return 0;
        if (secrets->count == CTL_SECRETS_MAX)
                return 0; /* no service account has so many */
        char *copy = strdup(name);
        if (!copy)
                return zp_error_errno(err, ENOMEM, "pull secrets");
        secrets->names[secrets->count++] = copy;
        return 0;
}

static void note(struct ctl_secrets *secrets, const char *what, const char *name, const char *why) {
        if (!secrets->problem[0])
                snprintf(secrets->problem, sizeof secrets->problem, "%s '%.60s': %.150s", what, name, why);
}

static int add_of_account(struct zp_kube *kube, const struct ctl_snapshot *snapshot, struct ctl_secrets *out,
                          struct zp_error *err) {
        const struct zp_kube_place place = { .resource = { "v1", "serviceaccounts" },
                                             .namespace = snapshot->namespace,
                                             .name = snapshot->spec.service_account };
        zp_auto(json_decref) json_t *account = NULL;
        json_t *entry;
        size_t i;
        int r = zp_kube_get(kube, &place, &account, err);
        if (r == -ENOENT || r == -EPERM) {
                note(out, "service account", place.name, r == -ENOENT ? "is not there" : "may not be read");
                return 0;
        }
        json_array_foreach(json_object_get(account, "imagePullSecrets"), i, entry) {
                const char *name = json_string_value(json_object_get(entry, "name"));
                if (name && *name && strlen(name) < CTL_NAME_SIZE && (r = add_name(out, name, err)) < 0)
                        return r;
        }
        return r;
}

int ctl_secrets_list(struct zp_kube *kube, const struct ctl_snapshot *snapshot, struct ctl_secrets *out,
                     struct zp_error *err) {
        int r = 0;
        *out = (struct ctl_secrets){ 0 };
        for (size_t i = 0; i < snapshot->spec.pull_secret_count && r == 0; i++)
                r = add_name(out, snapshot->spec.pull_secrets[i], err);
        if (r == 0 && snapshot->spec.service_account)
                r = add_of_account(kube, snapshot, out, err);
        if (r < 0)
                ctl_secrets_clear(out);
        return r;
}

/* ---- what is in them ---- */

int ctl_secret_config(json_t *secret, char **out, struct zp_error *err) {
        const char *key =
                ctl_pull_secret_data(secret, CTL_DOCKER_CONFIG_JSON) ? CTL_DOCKER_CONFIG_JSON : CTL_DOCKER_CFG;
        zp_auto(json_decref) json_t *auths = NULL;
        if (!ctl_pull_secret_data(secret, key))
                return zp_error_set(err, EBADMSG, "is not of type kubernetes.io/dockerconfigjson");
        int r = ctl_pull_secret_auths(secret, key, &auths, err);
        if (r == 0 && !auths)
                r = zp_error_set(err, EBADMSG, "has no 'auths'");
        if (r < 0)
                return r;
        zp_auto(json_decref) json_t *kept = json_pack("{s:O}", "auths", auths);
        *out = kept ? json_dumps(kept, JSON_COMPACT) : NULL;
        return *out ? 0 : zp_error_errno(err, ENOMEM, "pull secret");
}

static int load_one(struct zp_kube *kube, const char *namespace, struct ctl_secrets *out, size_t i,
                    struct zp_error *err) {
        const struct zp_kube_place place = { .resource = { "v1", "secrets" },
                                             .namespace = namespace,
                                             .name = out->names[i] };
        zp_auto(json_decref) json_t *secret = NULL;
        struct zp_error reason = { 0 };
        int r = zp_kube_get(kube, &place, &secret, err);
        if (r == -ENOENT || r == -EPERM) {
                note(out, "pull secret", place.name, r == -ENOENT ? "is not there" : "may not be read");
                return 0;
        }
        if (r == 0 && ctl_secret_config(secret, &out->configs[i], &reason) < 0)
                note(out, "pull secret", place.name, reason.message);
        return r;
}

int ctl_secrets_load(struct zp_kube *kube, const struct ctl_snapshot *snapshot, struct ctl_secrets *out,
                     struct zp_error *err) {
        int r = ctl_secrets_list(kube, snapshot, out, err);
        for (size_t i = 0; i < out->count && r == 0; i++)
                r = load_one(kube, snapshot->namespace, out, i, err);
        if (r < 0)
                ctl_secrets_clear(out);
        return r;
}

/* ---- for whom ---- */

static int find(void *context, const char *registry, const char *repository, struct zp_credentials *out,
                struct zp_error *err) {
        const struct ctl_secrets *secrets = context;
        (void) err;
        for (size_t i = 0; i < secrets->count; i++) {
                struct zp_error ignored = { 0 }; /* what is malformed knows nothing */
                *out = (struct zp_credentials){ 0 };
                if (secrets->configs[i] &&
                    zp_auth_file_parse(secrets->configs[i], strlen(secrets->configs[i]), secrets->names[i], registry,
                                       repository, NULL, out, &ignored) == 0 &&
                    !zp_credentials_are_empty(out))
                        return 1;
                zp_credentials_clear(out);
        }
        return 1; /* nothing is shown: the controller's own files are not for users */
}

struct zp_keychain ctl_secrets_keychain(struct ctl_secrets *secrets) {
        return (struct zp_keychain){ find, secrets };
}

static int add_auths(json_t *from, json_t *auths) {
        const char *host;
        json_t *value;
        json_object_foreach(from, host, value) if (json_is_object(value) && !json_object_get(auths, host) &&
                                                   json_object_set(auths, host, value) < 0) return -ENOMEM;
        return 0;
}

int ctl_secrets_merge(const struct ctl_secrets *secrets, json_t **out, struct zp_error *err) {
        zp_auto(json_decref) json_t *auths = json_object();
        *out = NULL;
        for (size_t i = 0; i < secrets->count; i++) {
                zp_auto(json_decref) json_t *config = NULL;
                struct zp_error ignored = { 0 };
                if (!secrets->configs[i] || zp_json_load(secrets->configs[i], strlen(secrets->configs[i]),
                                                         secrets->names[i], &config, &ignored) < 0)
                        continue;
                if (!auths || add_auths(json_object_get(config, "auths"), auths) < 0)
                        return zp_error_errno(err, ENOMEM, "pull secrets");
        }
        if (json_object_size(auths) > 0 && !(*out = json_pack("{s:O}", "auths", auths)))
                return zp_error_errno(err, ENOMEM, "pull secrets");
        return 0;
}
