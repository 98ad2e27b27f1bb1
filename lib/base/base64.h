/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648), read strictly: one text for each run of bytes, no bits left over.
 */
#ifndef ZP_BASE_BASE64_H
#define ZP_BASE_BASE64_H

#include <stddef.h>
#include <stdint.h>

enum zp_base64 {
        ZP_BASE64,         /* section 4, with padding */
        ZP_BASE64_WRAPPED, /* the same, with white space anywhere, as people and YAML break lines */
        ZP_BASE64_URL      /* section 5, without padding, as in JSON Web Tokens */
};

/* *out is malloc'ed, and a NUL that is not counted follows. -EBADMSG, -ENOMEM. What was decoded of a text that is
 * refused is wiped. */
int zp_base64_decode(enum zp_base64 form, const char *text, size_t size, uint8_t **out, size_t *out_size);

#endif
