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
        char *registry_token; /* the bearer token itself; then the others are NULL */
};

void zp_credentials_clear(struct zp_credentials *credentials);
bool zp_credentials_are_empty(const struct zp_credentials *credentials);
int zp_credentials_copy(const struct zp_credentials *from, struct zp_credentials *to, struct zp_error *err);
/* "user:password" */
int zp_credentials_parse(const char *text, struct zp_credentials *out, struct zp_error *err);
/* base64("user:password"), the password perhaps padded with NULs. -EBADMSG, -EINVAL; `name` is for messages. */
int zp_credentials_decode(const char *text, const char *name, struct zp_credentials *out, struct zp_error *err);
/* Whether a server's address, as Docker and others write it ("https://index.docker.io/v1/", "host:5000"), means this
 * registry. */
bool zp_credentials_are_for(const char *address, const char *registry);

/* Finds what is known for a repository of a registry. `path`: the file to look into (absent is an error), or several
 * separated by colons, of which the first that knows the registry counts (absent ones are passed over, and an empty
 * name stands for the usual places); or NULL: the first of the usual places that does. May run a helper. A file of the
 * name .dockercfg is of Docker's older form, which has no "auths" around it. -EIO: a file or a helper is malformed,
 * missing or not ours to use: no code of these says what it would say of an image. */
int zp_auth_file_find(const char *path, const char *registry, const char *repository, const struct zp_cancel *cancel,
                      struct zp_credentials *out, struct zp_error *err);

/* Whether a file can be one of credentials: it can be read, is JSON, and says where some are, each in a form
 * that can be shown. -EINVAL, -EBADMSG, or what reading it gave; the message tells of its content the registries alone.
 */
int zp_auth_file_check(const char *path, struct zp_error *err);

/* As zp_auth_file_find for the text of one file; `name` is for messages. */
int zp_auth_file_parse(const char *body, size_t size, const char *name, const char *registry, const char *repository,
                       const struct zp_cancel *cancel, struct zp_credentials *out, struct zp_error *err);

#endif
