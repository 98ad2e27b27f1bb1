/* SPDX-License-Identifier: Apache-2.0
 *
 * The user's registry credentials: Docker's config.json, the auth.json of podman and skopeo, and the
 * credential helpers that they name.
 */
#ifndef ZP_OCI_AUTH_FILE_H
#define ZP_OCI_AUTH_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cancel.h"

/* All NULL: none are known. */
struct zp_credentials {
        char *username, *password;
        char *identity_token; /* an OAuth2 refresh token; then the others are NULL */
};

void zp_credentials_clear(struct zp_credentials *credentials);
/* "user:password" */
int zp_credentials_parse(const char *text, struct zp_credentials *out, struct zp_error *err);

/* Finds what is known for a repository of a registry. `path`: the file to look into (absent is an
 * error), or NULL: the first of the usual places that knows the registry. May run a helper. -EIO: a file is
 * malformed. */
int zp_auth_file_find(const char *path, const char *registry, const char *repository, const struct zp_cancel *cancel,
                      struct zp_credentials *out, struct zp_error *err);

/* As above for the text of one file; `name` is for messages. */
int zp_auth_file_parse(const char *body, size_t size, const char *name, const char *registry, const char *repository,
                       const struct zp_cancel *cancel, struct zp_credentials *out, struct zp_error *err);

#endif
