/* SPDX-License-Identifier: Apache-2.0
 *
 * Proving to a registry who asks: Basic, and Bearer tokens from the realm it names.
 */
#ifndef ZP_OCI_AUTH_H
#define ZP_OCI_AUTH_H

#include "oci/http.h"
#include "oci/keychain.h"

struct zp_auth_options {
        const char *auth_file, *credentials; /* as in zp_source_options */
        const struct zp_keychain *keychain;  /* likewise */
        const char *registry, *repository;
};

/* What was granted for one repository. Thread-safe: of several threads that need a new token one fetches it.
 * Credentials are looked up when first asked for, and again only when they are refused. */
struct zp_auth;
int zp_auth_new(struct zp_http *http, const struct zp_auth_options *options, struct zp_auth **out,
                struct zp_error *err);
void zp_auth_free(struct zp_auth *auth);
ZP_DEFINE_AUTO(struct zp_auth, zp_auth_free);

/* The Authorization header's value to send now (malloc'ed), *value NULL when the registry has asked for none yet.
 * Fetches a new token when the last is about to expire. *generation goes to zp_auth_answer. */
int zp_auth_header(struct zp_auth *auth, const char *registry_url, char **value, unsigned *generation,
                   struct zp_error *err);
/* As zp_auth_header, but never waits: -EAGAIN, without `err`, when a new token has to be fetched. */
int zp_auth_current(struct zp_auth *auth, char **value, unsigned *generation, struct zp_error *err);
/* Answers a 401: after success zp_auth_header gives something newer than what `generation` stood for, good for what
 * the challenge names (`actions` on the repository, "pull,push", when it names nothing) and for what was granted
 * before. -EACCES: nothing to offer, or refused. Credentials go to `registry_url`'s origin, and to the realm when it
 * is reached by https, or is the registry's own host, or this machine. */
int zp_auth_answer(struct zp_auth *auth, const char *registry_url, const char *challenges, const char *actions,
                   unsigned generation, struct zp_error *err);

#endif
