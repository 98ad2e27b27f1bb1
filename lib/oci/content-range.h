/* SPDX-License-Identifier: Apache-2.0
 *
 * Content-Range (RFC 9110, 14.4): which part of a whole has come.
 */
#ifndef ZP_OCI_CONTENT_RANGE_H
#define ZP_OCI_CONTENT_RANGE_H

#include <stdbool.h>
#include <stdint.h>

struct zp_content_range {
        uint64_t start, end; /* start < end: the byte behind the last one */
        uint64_t total;      /* 0: not said, "*" */
};

/* Reads "bytes 0-1023/4096". False: another unit, malformed, or past its own total. */
bool zp_content_range_parse(const char *text, struct zp_content_range *out);

#endif
