/* SPDX-License-Identifier: Apache-2.0
 *
 * The Link header (RFC 8288): where a list goes on.
 */
#ifndef ZP_OCI_LINK_H
#define ZP_OCI_LINK_H

#include "base/error.h"

/* The target, as it is written, of the first link whose relation is "next"; `header` may be NULL, and several headers
 * be joined by commas. *out malloc'ed, NULL when there is none. -EBADMSG: malformed. */
int zp_link_next(const char *header, char **out, struct zp_error *err);

#endif
