/* SPDX-License-Identifier: Apache-2.0
 *
 * Mistakes in this machine's settings of registries: credentials, hosts.toml, and the files that these name.
 */
#ifndef ZP_OCI_SETTINGS_ERROR_H
#define ZP_OCI_SETTINGS_ERROR_H

#include "base/error.h"

/* Hands `reason`, why settings could not be read, on to `err` (may be NULL), and returns its code, negative. A code
 * that would say something of an image, or of who asks for it (not found, refused, malformed), becomes EIO. */
int zp_settings_error(struct zp_error *reason, struct zp_error *err);

#endif
