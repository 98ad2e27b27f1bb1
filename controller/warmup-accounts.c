/* SPDX-License-Identifier: Apache-2.0
 *
 * The pull secrets of the service accounts that objects name. Accounts are not watched: each is read when it is first
 * named, and again after a while.
 */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "controller/model/time.h"
#include "controller/warmup-internal.h"

/* Of one node's image, as in the CRD of NodeSnapshotCache. */
#define SECRETS_MAX 16

/* Names; one that is not there, or that we may not read, has none. */
static int read_account(struct warmup *w, const char *namespace, const char *name, json_t *out, struct zp_error *err) {
        const struct zp_kube_request request = {
                .place = { .resource = { "v1", "serviceaccounts" }, .namespace = namespace, .name = name },
                .cancel = &w->cancel
        };
        zp_auto(json_decref) json_t *account = NULL;
        json_t *entry;
        size_t i;
        int r = zp_kube_call(w->options.client, &request, &account, err);
        json_array_foreach(json_object_get(account, "imagePullSecrets"), i, entry) {
                const char *secret = warmup_text(entry, "name");
                if (secret[0] && strlen(secret) < CTL_NAME_SIZE && json_array_size(out) < SECRETS_MAX)
                        json_array_append(out, json_object_get(entry, "name"));
        }
        return r == -ENOENT || r == -EPERM ? 0 : r;
}

/* As it is known, or read now: {at, names}. NULL: it could not be read, nor is anything known. */
static json_t *find_account(struct warmup *w, const char *key, json_t *object, int *result) {
        json_t *known = json_object_get(w->accounts, key);
        struct zp_error err = { 0 };
        json_int_t now = ctl_now();
        if (known && json_integer_value(json_object_get(known, "at")) + WARMUP_ACCOUNT_S > now)
                return json_incref(known);
        json_t *names = json_array();
        int r = read_account(w, warmup_text(object, "namespace"), warmup_text(object, "account"), names, &err);
        if (r == 0)
                return json_pack("{s:I, s:o}", "at", now, "names", names);
        json_decref(names);
        zp_error_wrap(&err, "service account %s", key);
        warmup_complain(w, &err);
        *result = r;
        return known ? json_incref(known) : NULL;
}

static void add_secrets(json_t *object, json_t *names) {
        json_t *secrets = json_object_get(object, "secrets"), *name;
        size_t i, j;
        json_array_foreach(names, i, name) {
                bool is_known = json_array_size(secrets) >= SECRETS_MAX;
                for (j = 0; j < json_array_size(secrets); j++)
                        is_known |= json_equal(json_object_get(json_array_get(secrets, j), "name"), name);
                if (!is_known)
                        json_array_append_new(secrets, json_pack("{s:O, s:O}", "namespace",
                                                                 json_object_get(object, "namespace"), "name", name));
        }
}

int warmup_add_accounts(struct warmup *w, json_t *objects) {
        zp_auto(json_decref) json_t *found = json_object();
        const char *name;
        json_t *object;
        int result = 0;
        json_object_foreach(objects, name, object) {
                char key[CTL_KEY_SIZE];
                if (!warmup_text(object, "account")[0])
                        continue;
                snprintf(key, sizeof key, "%s/%s", warmup_text(object, "namespace"), warmup_text(object, "account"));
                json_t *account = json_incref(json_object_get(found, key));
                if (!account && (account = find_account(w, key, object, &result)))
                        json_object_set(found, key, account);
                add_secrets(object, json_object_get(account, "names"));
                json_decref(account);
        }
        json_decref(w->accounts);
        w->accounts = zp_steal(&found);
        return result;
}
