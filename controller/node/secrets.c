/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/secrets.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "controller/kube/client.h"
#include "oci/json.h"

#define SECRET_MAX ((size_t) 1 << 20) /* as Kubernetes has it */

static const struct {
        const char *type, *key;
        bool has_auths; /* the entries are in a member "auths" */
} kinds[] = { { "kubernetes.io/dockerconfigjson", ".dockerconfigjson", true },
              { "kubernetes.io/dockercfg", ".dockercfg", false } };

void node_secret_free(char *text) {
        if (text)
                explicit_bzero(text, strlen(text));
        free(text);
}

/* *out is malloc'ed, NUL-terminated. */
static int decode(const char *text, const char *name, char **out, size_t *size, struct zp_error *err) {
        size_t length = strlen(text), padding = 0;
        if (length > SECRET_MAX * 2 || length % 4 != 0 || length == 0)
                return zp_error_set(err, EBADMSG, "secret '%s': its data is no base64", name);
        while (padding < 2 && text[length - 1 - padding] == '=')
                padding++;
        char *data = malloc(length / 4 * 3 + 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "secret '%s'", name);
        if (EVP_DecodeBlock((unsigned char *) data, (const unsigned char *) text, (int) length) < 0) {
                free(data);
                return zp_error_set(err, EBADMSG, "secret '%s': its data is no base64", name);
        }
        *size = length / 4 * 3 - padding;
        data[*size] = '\0';
        *out = data;
        return 0;
}

static int add_entries(const char *text, size_t size, const char *name, bool has_auths, json_t *auths,
                       struct zp_error *err) {
        zp_auto(json_decref) json_t *document = NULL;
        struct zp_error hidden = { 0 };
        const char *registry;
        json_t *entry;
        /* the parser's message may show a piece of it */
        if (zp_json_load(text, size, "secret", &document, &hidden) < 0)
                return zp_error_set(err, EBADMSG, "secret '%s': its data is no JSON object", name);
        json_object_foreach(has_auths ? json_object_get(document, "auths") : document, registry, entry) {
                if (!json_object_get(auths, registry) && json_object_set(auths, registry, entry) < 0)
                        return zp_error_errno(err, ENOMEM, "secret '%s'", name);
        }
        return 0;
}

int node_secret_add(json_t *secret, json_t *auths, struct zp_error *err) {
        const char *type = json_string_value(json_object_get(secret, "type")), *name = zp_kube_name(secret);
        for (size_t i = 0; type && i < sizeof kinds / sizeof *kinds; i++) {
                if (strcmp(type, kinds[i].type) != 0)
                        continue;
                const char *data = json_string_value(json_object_get(json_object_get(secret, "data"), kinds[i].key));
                char *text = NULL;
                size_t size = 0;
                if (!data)
                        return zp_error_set(err, EBADMSG, "secret '%s': no '%s' in it", name, kinds[i].key);
                int r = decode(data, name, &text, &size, err);
                if (r == 0)
                        r = add_entries(text, size, name, kinds[i].has_auths, auths, err);
                node_secret_free(text);
                return r;
        }
        return zp_error_set(err, EBADMSG, "secret '%s': no pull secret (type kubernetes.io/dockerconfigjson)", name);
}

int node_secrets_read(struct zp_kube *kube, json_t *secrets, char **text, struct zp_error *unread,
                      struct zp_error *err) {
        zp_auto(json_decref) json_t *auths = json_object();
        json_t *item;
        size_t i;
        *text = NULL;
        json_array_foreach(secrets, i, item) {
                zp_auto(json_decref) json_t *secret = NULL;
                struct zp_error one = { 0 };
                struct zp_kube_place place = { .resource = { "v1", "secrets" },
                                               .namespace = json_string_value(json_object_get(item, "namespace")),
                                               .name = json_string_value(json_object_get(item, "name")) };
                int r = zp_kube_get(kube, &place, &secret, &one);
                if (r == 0)
                        r = node_secret_add(secret, auths, &one);
                if (r == 0)
                        continue;
                zp_error_wrap(&one, "pull secret %s/%s", place.namespace, place.name);
                if (r == -ENOMEM || r == -ECANCELED) {
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
