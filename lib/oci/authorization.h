/* SPDX-License-Identifier: Apache-2.0
 *
 * From a registry's challenge and somebody's credentials to what an Authorization header says: Basic, or a token that
 * the challenge's realm gives (distribution's token specification; RFC 6749, 6, with an identity token).
 */
#ifndef ZP_OCI_AUTHORIZATION_H
#define ZP_OCI_AUTHORIZATION_H

#include "oci/auth-file.h"
#include "oci/challenge.h"
#include "oci/http.h"

struct zp_authorization_request {
        struct zp_http *http;
        const char *registry;                 /* as people name it */
        const char *registry_url;             /* where the challenge came from */
        const struct zp_challenge *challenge; /* its answer */
        const struct zp_credentials *known;   /* what there is to show; may be empty */
};

/* *value is for zp_secret_free(); it is good for *lifetime_s. Talks to the realm, when that may be trusted with what is
 * known: zp_auth_answer(). -EACCES: nothing to offer, or refused; -EBADMSG: an answer that is none. */
int zp_authorization_obtain(const struct zp_authorization_request *request, char **value, int64_t *lifetime_s,
                            struct zp_error *err);

/* What the header says for a user and a password (NULL: empty), for zp_secret_free(); NULL: out of memory. */
char *zp_basic_authorization(const char *user, const char *password);

#endif
