/* SPDX-License-Identifier: Apache-2.0
 *
 * How a sender shows that it knows a secret: what several providers have in common. All are `authenticate` of struct
 * hook_provider, compare in constant time, and try every secret of the endpoint.
 */
#ifndef HOOK_PROVIDERS_AUTHENTICATION_H
#define HOOK_PROVIDERS_AUTHENTICATION_H

#include "registry-hook/providers/provider.h"

/* The secret is all of the Authorization header, or its Bearer token, or its Basic "user:password" (RFC 7617), or all
 * of X-Zeropull-Token. */
int hook_auth_header(const struct hook_endpoint *endpoint, const struct hook_request *request, struct zp_error *err);
/* As above, or the parameter `token` of the URL: for senders that can be given an address and nothing else. */
int hook_auth_token(const struct hook_endpoint *endpoint, const struct hook_request *request, struct zp_error *err);

/* 0 when `candidate` (NULL: nothing was sent) is one of the secrets; else -EACCES. */
int hook_auth_compare(const struct hook_endpoint *endpoint, const char *candidate, struct zp_error *err);

enum hook_hmac { HOOK_HMAC_SHA1, HOOK_HMAC_SHA256 };

/* 0 when `signature` (NULL: nothing was sent), in hex, is the HMAC of the bytes under one of the secrets; else -EACCES.
 */
int hook_auth_hmac(const struct hook_endpoint *endpoint, enum hook_hmac algorithm, const char *signature,
                   const void *data, size_t size, struct zp_error *err);

#endif
