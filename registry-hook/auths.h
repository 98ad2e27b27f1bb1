/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials that come with somebody's wish for a build: the "auths" of Docker's config.json, as one text. They are
 * kept as long as the build is not over, shown to the registries they name, and to nobody else.
 */
#ifndef HOOK_AUTHS_H
#define HOOK_AUTHS_H

#include <jansson.h>

#include "oci/keychain.h"

#define HOOK_AUTHS_MAX 65536

/* `auths`: an object {HOST: {"auth": …}}. *out is {"auths": …}, for zp_secret_free(). -EINVAL: it is none, or too
 * large. */
int hook_auths_read(json_t *auths, char **out, struct zp_error *err);
/* Finds in the text what it knows, and leaves the rest to the configuration. `text` must outlive it. */
struct zp_keychain hook_auths_keychain(const char *text);

#endif
