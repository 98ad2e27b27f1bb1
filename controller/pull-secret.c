/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/pull-secret.h"

#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "base/cleanup.h"
#include "oci/json.h"

/* As base64. etcd holds no object beyond 1.5 MiB. */
#define SECRET_MAX (2u << 20)

const char *ctl_pull_secret_data(json_t *secret, const char *key) {
        return json_string_value(json_object_get(json_object_get(secret, "data"), key));
}

int ctl_pull_secret_auths(json_t *secret, const char *key, json_t **auths, struct zp_error *err) {
        zp_auto(json_decref) json_t *config = NULL;
        struct zp_error hidden = { 0 }; /* the parser's message may show a piece of it */
        const char *data = ctl_pull_secret_data(secret, key);
        uint8_t *text = NULL;
        size_t size = strlen(data);
        int r = size == 0 || size > SECRET_MAX ? -EBADMSG : zp_base64_decode(ZP_BASE64, data, size, &text, &size);
        if (r < 0)
                return r == -ENOMEM ? zp_error_errno(err, ENOMEM, "pull secret")
                                    : zp_error_set(err, EBADMSG, "is not base64");
        r = zp_json_load((const char *) text, size, "secret", &config, &hidden);
        explicit_bzero(text, size);
        free(text);
        if (r < 0)
                return zp_error_set(err, EBADMSG, "is no JSON object");
        json_t *found = strcmp(key, CTL_DOCKER_CFG) == 0 ? config : json_object_get(config, "auths");
        *auths = json_is_object(found) ? json_incref(found) : NULL;
        return 0;
}
