/* SPDX-License-Identifier: Apache-2.0
 *
 * docker-credential-NAME programs (github.com/docker/docker-credential-helpers).
 */
#ifndef ZP_OCI_CREDENTIAL_HELPER_H
#define ZP_OCI_CREDENTIAL_HELPER_H

#include "oci/auth-file.h"

/* Runs `docker-credential-NAME get` with `server` on its standard input. Success with nothing found leaves
 * `out` empty. The program is killed when it takes longer than 30 s. */
int zp_credential_helper_get(const char *name, const char *server, const struct zp_cancel *cancel,
                             struct zp_credentials *out, struct zp_error *err);

#endif
