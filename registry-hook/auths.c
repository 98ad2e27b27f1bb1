/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/auths.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

int hook_auths_read(json_t *auths, char **out, struct zp_error *err) {
        const char *host;
        json_t *entry;
        if (!json_is_object(auths))
                return zp_error_set(err, EINVAL, "'auths' is no object");
        json_object_foreach(auths, host, entry) {
                struct zp_credentials credentials = { 0 };
                const char *auth = json_string_value(json_object_get(entry, "auth"));
                if (!json_is_object(entry))
                        return zp_error_set(err, EINVAL, "'auths': '%.100s' is no object", host);
                int r = auth && *auth ? zp_credentials_decode(auth, "'auths'", &credentials, err) : 0;
                zp_credentials_clear(&credentials);
                if (r < 0)
                        return r;
        }
        json_t *config = json_pack("{s:O}", "auths", auths);
        char *text = config ? json_dumps(config, JSON_COMPACT) : NULL;
        json_decref(config);
        if (!text)
                return zp_error_errno(err, ENOMEM, "auths");
        if (strlen(text) > HOOK_AUTHS_MAX) {
                zp_secret_free(text);
                return zp_error_set(err, EINVAL, "'auths' is larger than %d bytes", HOOK_AUTHS_MAX);
        }
        *out = text;
        return 0;
}

static int find(void *context, const char *registry, const char *repository, struct zp_credentials *out,
                struct zp_error *err) {
        const char *text = context;
        int r = zp_auth_file_parse(text, strlen(text), "auths", registry, repository, NULL, out, err);
        return r < 0 ? r : !zp_credentials_are_empty(out);
}

struct zp_keychain hook_auths_keychain(const char *text) {
        return (struct zp_keychain){ find, (void *) text };
}
