/* SPDX-License-Identifier: Apache-2.0
 *
 * OpenID Connect ID tokens (RFC 7519, OpenID Connect Core 2) signed with RS256, checked against keys at hand.
 */
#ifndef HOOK_PROVIDERS_JWT_H
#define HOOK_PROVIDERS_JWT_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct hook_jwt_expectation {
        const char *const *issuers; /* any of them; ends with NULL */
        const char *email;          /* whose token, verified by the issuer; NULL: nobody's is good */
        const char *audience;       /* NULL: any */
        int64_t now_s;              /* Unix time */
};

/* 0: a token as expected, signed by one of `keys`, a JSON Web Key Set (RFC 7517), and not over. Clocks may differ by a
 * minute. -EACCES: it is not; -ENOMEM. */
int hook_jwt_verify(const char *token, const char *keys, size_t keys_size,
                    const struct hook_jwt_expectation *expectation, struct zp_error *err);

#endif
