/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP_PROXY, HTTPS_PROXY, NO_PROXY, as Go's programs (containerd, skopeo, podman) read them. libcurl would do so a
 * little differently: HTTP_PROXY only in lower case, NO_PROXY without ports, this machine's own servers by the proxy.
 */
#ifndef ZP_OCI_PROXY_H
#define ZP_OCI_PROXY_H

#include <stdbool.h>

#include "base/error.h"

/* The proxy by which the URL is reached: *out is malloc'ed, NULL: none. `variable` is getenv, or a test's stand-in.
 * -EINVAL: it is malformed; the message does not show it, for it may hold a password. */
int zp_proxy_find(const char *url, char *(*variable)(const char *name), char **out, struct zp_error *err);
/* "[SCHEME://][USER:PASSWORD@]HOST[:PORT]", http, https, socks5 or socks5h. */
bool zp_proxy_is_well_formed(const char *text);

#endif
