/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/secrets.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "controller/kube/client.h"
#include "controller/pull-secret.h"

static const struct {
        const char *type, *key;
} kinds[] = { { "kubernetes.io/dockerconfigjson", CTL_DOCKER_CONFIG_JSON },
              { "kubernetes.io/dockercfg", CTL_DOCKER_CFG } };

void node_secret_free(char *text) {
        if (text)
                explicit_bzero(text, strlen(text));
        free(text);
}

static int add_entries(json_t *from, json_t *auths, const char *name, struct zp_error *err) {
        const char *registry;
        json_t *entry;
        json_object_foreach(from, registry, entry) {
                if (!json_object_get(auths, registry) && json_object_set(auths, registry, entry) < 0)
                        return zp_error_errno(err, ENOMEM, "secret '%s'", name);
        }
        return 0;
}

int node_secret_add(json_t *secret, json_t *auths, struct zp_error *err) {
        const char *type = json_string_value(json_object_get(secret, "type")), *name = zp_kube_name(secret);
        for (size_t i = 0; type && i < sizeof kinds / sizeof *kinds; i++) {
                zp_auto(json_decref) json_t *found = NULL;
                if (strcmp(type, kinds[i].type) != 0)
                        continue;
                if (!ctl_pull_secret_data(secret, kinds[i].key))
                        return zp_error_set(err, EBADMSG, "secret '%s': no '%s' in it", name, kinds[i].key);
                int r = ctl_pull_secret_auths(secret, kinds[i].key, &found, err);
                return r < 0 ? zp_error_wrap(err, "secret '%s'", name) : add_entries(found, auths, name, err);
        }
        return zp_error_set(err, EBADMSG, "secret '%s': no pull secret (type kubernetes.io/dockerconfigjson)", name);
}

/* Reading it would tomorrow end in the same way. */
static bool is_secret_unusable(int result) {
        return result == -ENOENT || result == -EPERM || result == -EACCES || result == -EINVAL || result == -EBADMSG;
}

int node_secrets_read(struct zp_kube *kube, json_t *secrets, unsigned timeout_ms, char **text, struct zp_error *unread,
                      struct zp_error *err) {
        zp_auto(json_decref) json_t *auths = json_object();
        json_t *item;
        size_t i;
        *text = NULL;
        json_array_foreach(secrets, i, item) {
                zp_auto(json_decref) json_t *secret = NULL;
                struct zp_error one = { 0 };
                const struct zp_kube_place place = { .resource = { "v1", "secrets" },
                                                     .namespace = json_string_value(json_object_get(item, "namespace")),
                                                     .name = json_string_value(json_object_get(item, "name")) };
                const struct zp_kube_request request = { .method = "GET", .place = place, .timeout_ms = timeout_ms };
                int r = zp_kube_call(kube, &request, &secret, &one);
                if (r == 0)
                        r = node_secret_add(secret, auths, &one);
                if (r == 0)
                        continue;
                zp_error_wrap(&one, "pull secret %s/%s", place.namespace, place.name);
                if (r == -ENOMEM || r == -ECANCELED || (timeout_ms > 0 && !is_secret_unusable(r))) {
                        *err = one;
                        return r;
                }
                if (!unread->code)
                        *unread = one;
        }
        if (json_object_size(auths) == 0)
                return 0;
        zp_auto(json_decref) json_t *config = json_pack("{s:O}", "auths", auths);
        *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
        return *text ? 0 : zp_error_errno(err, ENOMEM, "pull secrets");
}
