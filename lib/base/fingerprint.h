/* SPDX-License-Identifier: Apache-2.0
 *
 * What a file is, in the words of the store's records.
 */
#ifndef ZP_BASE_FINGERPRINT_H
#define ZP_BASE_FINGERPRINT_H

#include "base/digest.h"

/* Size and SHA-256 of a whole file, read from its start. */
int zp_fingerprint(int fd, const char *name, uint64_t *size, struct zp_digest *digest, struct zp_error *err);

#endif
