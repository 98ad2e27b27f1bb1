/* SPDX-License-Identifier: Apache-2.0
 *
 * A response of several ranges: multipart/byteranges (RFC 9110, 14.6; RFC 2046, 5.1), as it comes in.
 */
#ifndef ZP_OCI_BYTERANGES_H
#define ZP_OCI_BYTERANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "oci/content-range.h"

struct zp_byteranges;

/* By the Content-Type of the response. -EPROTO: it is another, or names no boundary. */
int zp_byteranges_new(const char *content_type, struct zp_byteranges **out, struct zp_error *err);
void zp_byteranges_free(struct zp_byteranges *ranges);
ZP_DEFINE_AUTO(struct zp_byteranges, zp_byteranges_free);

/* Some bytes of a part, which stand at `position` of the whole; `range` is the part's. */
typedef int (*zp_byteranges_sink)(void *context, const struct zp_content_range *range, uint64_t position,
                                  const void *data, size_t size, struct zp_error *err);

/* The next piece of the body, however it is cut. -EPROTO: malformed, and nothing more is to be given. What `sink`
 * returns below 0 is returned. What follows the last boundary is ignored. */
int zp_byteranges_feed(struct zp_byteranges *ranges, const void *data, size_t size, zp_byteranges_sink sink,
                       void *context, struct zp_error *err);

#endif
