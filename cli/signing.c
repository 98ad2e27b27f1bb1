/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/signing.h"

#include "cli/secret.h"

int cli_load_sign_key(struct cli_call *call, int sign_key_option, int passphrase_file_option, struct zp_key **out,
                      struct zp_error *err) {
        const char *file = call->values[sign_key_option], *passphrase_file = call->values[passphrase_file_option];
        if (!file)
                return passphrase_file ? cli_usage_error(call, err, "--passphrase-file wants --sign-key beside it") : 0;
        struct zp_passphrase passphrase = cli_passphrase(passphrase_file);
        return cli_file_failed(call, zp_key_load_private(file, &passphrase, out, err));
}

int cli_check_may_sign(struct cli_call *call, struct zp_store *store, const struct zp_key *key,
                       const struct zp_image_record *image, struct zp_error *err) {
        const char *name = image->names && image->names[0] ? image->names[0] : "the image";
        if (!key)
                return 0;
        int rests = image->is_fetched ? 1 : zp_store_rests_on_fetched(store, &image->manifest_digest, err);
        if (rests <= 0)
                return rests;
        call->exit_code = CLI_REFUSED;
        if (image->is_fetched) {
                zp_error_set(err, EPERM, "'%s' was fetched, not built here: it is not signed", name);
                zp_error_hint(err, "build it here first: zeropull build SOURCE");
        } else {
                zp_error_set(err, EPERM,
                             "'%s' rests on data that was fetched and that this key has not signed: it is"
                             " not signed",
                             name);
                zp_error_hint(err, "build it from the image alone: zeropull build --rebuild --base=none SOURCE");
        }
        return -EPERM;
}

int cli_sign_published(struct zp_remote *remote, const struct zp_key *key, const struct zp_push_result *result,
                       const struct zp_digest *subject, struct zp_error *err) {
        if (!key)
                return 0;
        int r = zp_sign_published(remote, key, &result->artifact_digest, result->artifact_size, subject, err);
        if (r < 0)
                zp_error_hint(err, "the snapshot is published without this signature: 'zeropull push --sign-key' again "
                                   "adds it");
        return r;
}

int cli_load_keys(struct cli_call *call, int option, struct cli_keys *out, struct zp_error *err) {
        for (int i = 0; i < call->given_count; i++) {
                if (call->given[i].option != option)
                        continue;
                if (out->count == CLI_KEYS_MAX)
                        return cli_usage_error(call, err, "--key: more than %d", CLI_KEYS_MAX);
                int r = zp_key_load_public(call->given[i].value, &out->keys[out->count], err);
                if (r < 0)
                        return cli_file_failed(call, r);
                out->count++;
        }
        return 0;
}

void cli_clear_keys(struct cli_keys *keys) {
        for (size_t i = 0; i < keys->count; i++)
                zp_key_free(keys->keys[i]);
        keys->count = 0;
}

int cli_load_policy(struct cli_call *call, int option, struct zp_policy **out, struct zp_error *err) {
        const char *file = call->values[option];
        int r = file ? zp_policy_load(file, out, err) : zp_policy_load_if_present(ZP_POLICY_DEFAULT_PATH, out, err);
        if (r < 0) {
                call->exit_code = CLI_REFUSED;
                zp_error_hint(err, "no snapshot is accepted until the policy can be read");
        }
        return r;
}
