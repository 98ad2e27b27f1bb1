/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/pull-secret.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/json.h"

/* As base64. etcd holds no object beyond 1.5 MiB. */
#define SECRET_MAX (2u << 20)

const char *ctl_pull_secret_data(json_t *secret, const char *key) {
        return json_string_value(json_object_get(json_object_get(secret, "data"), key));
}

/* malloc'ed and NUL-terminated; to be wiped. */
static int decode(const char *text, char **out, size_t *out_size, struct zp_error *err) {
        size_t size = strlen(text);
        if (size == 0 || size % 4 || size > SECRET_MAX)
                return zp_error_set(err, EBADMSG, "is not base64");
        char *data = calloc(1, size + 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "pull secret");
        int n = EVP_DecodeBlock((unsigned char *) data, (const unsigned char *) text, (int) size);
        if (n < 0) {
                free(data);
                return zp_error_set(err, EBADMSG, "is not base64");
        }
        *out_size = (size_t) n - (text[size - 1] == '=') - (text[size - 2] == '=');
        data[*out_size] = '\0';
        *out = data;
        return 0;
}

int ctl_pull_secret_auths(json_t *secret, const char *key, json_t **auths, struct zp_error *err) {
        zp_auto(json_decref) json_t *config = NULL;
        struct zp_error hidden = { 0 }; /* the parser's message may show a piece of it */
        char *text = NULL;
        size_t size = 0;
        int r = decode(ctl_pull_secret_data(secret, key), &text, &size, err);
        if (r < 0)
                return r;
        r = zp_json_load(text, size, "secret", &config, &hidden);
        explicit_bzero(text, size);
        free(text);
        if (r < 0)
                return zp_error_set(err, EBADMSG, "is no JSON object");
        json_t *found = strcmp(key, CTL_DOCKER_CFG) == 0 ? config : json_object_get(config, "auths");
        *auths = json_is_object(found) ? json_incref(found) : NULL;
        return 0;
}
