/* SPDX-License-Identifier: Apache-2.0
 *
 * Base64 (RFC 4648), read strictly: no white space, no bits left over.
 */
#ifndef HOOK_PROVIDERS_BASE64_H
#define HOOK_PROVIDERS_BASE64_H

#include <stddef.h>
#include <stdint.h>

enum hook_base64 {
        HOOK_BASE64,    /* section 4, with padding */
        HOOK_BASE64_URL /* section 5, without, as in JSON Web Tokens */
};

/* *out is malloc'ed, and a NUL that is not counted follows. -EBADMSG, -ENOMEM. */
int hook_base64_decode(enum hook_base64 form, const char *text, size_t size, uint8_t **out, size_t *out_size);

#endif
