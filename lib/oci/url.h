/* SPDX-License-Identifier: Apache-2.0
 *
 * Which server a URL leads to, and whom to trust with what.
 */
#ifndef ZP_OCI_URL_H
#define ZP_OCI_URL_H

#include <stdbool.h>

#include "base/error.h"

/* Whether it can be where a service of ours is: "https://HOST[:PORT][/PATH]" or http, without user, query and fragment.
 * -EINVAL. */
int zp_url_check_service(const char *url, struct zp_error *err);
/* "localhost", 127.0.0.0/8 or ::1; `host` with or without ":port" and brackets. */
bool zp_is_loopback(const char *host);
/* Same scheme, host and port. */
bool zp_url_same_origin(const char *a, const char *b);
/* True when it leads to `host` ("HOST[:PORT]"; without a port: its scheme's own). */
bool zp_url_is_at(const char *url, const char *host);
bool zp_url_is_https(const char *url);
#define ZP_URL_HOST_SIZE 264
/* "host[:port]", cut to fit; for messages. Returns `text`. */
char *zp_url_host(const char *url, char text[ZP_URL_HOST_SIZE]);
/* Whether it leads to this machine, whatever its scheme. */
bool zp_url_is_loopback(const char *url);
/* Resolves a Location header against the URL that was asked. Only http and https without a user, and
 * never from https down to http (but from this machine to itself). Messages leave the query out, which may hold
 * a signature. malloc'ed. */
int zp_url_resolve(const char *base, const char *location, char **out, struct zp_error *err);
/* The URL with NAME=VALUE (escaped) behind what its query has already. malloc'ed; NULL: out of memory, or no URL. */
char *zp_url_with_query(const char *url, const char *name, const char *value);

#endif
