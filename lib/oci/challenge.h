/* SPDX-License-Identifier: Apache-2.0
 *
 * WWW-Authenticate (RFC 9110, 11.6.1): what a registry wants to see before it answers.
 */
#ifndef ZP_OCI_CHALLENGE_H
#define ZP_OCI_CHALLENGE_H

#include "base/cleanup.h"
#include "base/error.h"

enum zp_challenge_scheme { ZP_CHALLENGE_BASIC, ZP_CHALLENGE_BEARER };

struct zp_challenge {
        enum zp_challenge_scheme scheme;
        char *realm;   /* "" when not given */
        char *service; /* "" when not given */
        char *scope;   /* "" when not given */
};

/* Parses one or more challenges, separated by commas (as several header lines may be joined), and gives
 * the first Bearer one, else the first Basic one. -EBADMSG: malformed; -ENOTSUP: neither is offered.
 * The caller clears `out` on success. */
int zp_challenge_parse(const char *header, struct zp_challenge *out, struct zp_error *err);
void zp_challenge_clear(struct zp_challenge *challenge);

#endif
