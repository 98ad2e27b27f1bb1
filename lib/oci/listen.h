/* SPDX-License-Identifier: Apache-2.0
 *
 * The TCP socket that a service listens at.
 */
#ifndef ZP_OCI_LISTEN_H
#define ZP_OCI_LISTEN_H

#include <stdbool.h>

#include "base/error.h"

struct zp_listener {
        int fd;           /* non-blocking; the caller's */
        unsigned port;    /* the one the kernel gave, where 0 was asked for */
        bool is_loopback; /* nobody but this machine gets here */
};
/* "127.0.0.1:8480", "[::]:443", ":80". -EINVAL: not an address and a port. */
int zp_listen(const char *text, struct zp_listener *out, struct zp_error *err);

/* Whether zp_listen() could be given this, without listening: 0, -EINVAL. */
int zp_listen_check(const char *text, struct zp_error *err);

#endif
