/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes a published snapshot back out of a registry.
 */
#ifndef ZP_SHIP_WITHDRAW_H
#define ZP_SHIP_WITHDRAW_H

#include "oci/source.h"

/* Deletes an artifact and its entry under the fallback tag of its image. `remote` is a remote's name; -ENOTSUP: not one
 * of a registry, or the registry deletes nothing, and then nothing has changed. One that is not there is success. `subject` and `artifact` are
 * digests of manifests: the image's, and the snapshot's. */
int zp_withdraw(const char *remote, const char *subject, const char *artifact, const struct zp_source_options *options,
                struct zp_error *err);

#endif
