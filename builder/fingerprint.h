/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ZP_BUILDER_FINGERPRINT_H
#define ZP_BUILDER_FINGERPRINT_H

#include "base/digest.h"

/* Size and SHA-256 of a whole file, read from its start. */
int zp_fingerprint(int fd, const char *name, uint64_t *size, struct zp_digest *digest, struct zp_error *err);

#endif
