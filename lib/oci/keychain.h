/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials that are in no file: somebody else holds them, and is asked.
 */
#ifndef ZP_OCI_KEYCHAIN_H
#define ZP_OCI_KEYCHAIN_H

#include "oci/auth-file.h"

struct zp_keychain {
        /* What to show to `registry` for `repository`. 1: *out has it (all NULL: nothing is to be shown), to be cleared
         * by the caller; 0: not known here, the files decide; negative: an error. From any thread; it may wait. */
        int (*find)(void *context, const char *registry, const char *repository, struct zp_credentials *out,
                    struct zp_error *err);
        void *context;
};

#endif
