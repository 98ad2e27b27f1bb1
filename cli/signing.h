/* SPDX-License-Identifier: Apache-2.0
 *
 * How commands sign what they publish, and get at what signatures are wanted.
 */
#ifndef ZP_CLI_SIGNING_H
#define ZP_CLI_SIGNING_H

#include "cli/cli.h"
#include "ship/push.h"
#include "ship/trust.h"

#define CLI_KEYS_MAX 32

/* The private key of --sign-key; NULL when that option was not given. May ask for its passphrase on the terminal. */
int cli_load_sign_key(struct cli_call *call, int sign_key_option, int passphrase_file_option, struct zp_key **out,
                      struct zp_error *err);
/* A signature says that its owner made the snapshot, from the image: -EPERM for what was fetched, or rests on layers or
 * devices that were, unless the same key had signed them. A NULL `key` asks for nothing. */
int cli_check_may_sign(struct cli_call *call, struct zp_store *store, const struct zp_key *key,
                       const struct zp_image_record *image, struct zp_error *err);
/* Signs what was just published; a NULL `key` does nothing. */
int cli_sign_published(struct zp_remote *remote, const struct zp_key *key, const struct zp_push_result *result,
                       const struct zp_digest *subject, struct zp_error *err);

/* The public keys of an option that may be repeated. */
struct cli_keys {
        struct zp_key *keys[CLI_KEYS_MAX];
        size_t count;
};
int cli_load_keys(struct cli_call *call, int option, struct cli_keys *out, struct zp_error *err);
void cli_clear_keys(struct cli_keys *keys);

/* The policy of --policy, or else the machine's. One that cannot be read is a refusal. */
int cli_load_policy(struct cli_call *call, int option, struct zp_policy **out, struct zp_error *err);

#endif
