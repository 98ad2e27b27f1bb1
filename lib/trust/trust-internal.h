/* SPDX-License-Identifier: Apache-2.0
 *
 * A key's inside, which only its own files know.
 */
#ifndef ZP_TRUST_INTERNAL_H
#define ZP_TRUST_INTERNAL_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "trust/key.h"

struct zp_key {
        EVP_PKEY *pkey;
        struct zp_digest id;
        bool is_private, is_encrypted;
};

/* Takes `pkey` over, also on failure. */
int zp_key_new(EVP_PKEY *pkey, bool is_private, bool is_encrypted, struct zp_key **out, struct zp_error *err);

#endif
