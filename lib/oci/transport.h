/* SPDX-License-Identifier: Apache-2.0
 *
 * Names that look like one of the transports of skopeo and podman, and must not be taken for a repository.
 */
#ifndef ZP_OCI_TRANSPORT_H
#define ZP_OCI_TRANSPORT_H

#include "base/error.h"

/* For a name that begins with no supported transport. -EINVAL: it begins with another one ("dir:x"), with what is
 * nearly one ("docker-archve:x"), or is one with nothing behind it ("oci-archive"). */
int zp_transport_check(const char *name, struct zp_error *err);

#endif
