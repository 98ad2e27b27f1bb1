/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether somebody may read an image.
 */
#ifndef ZP_OCI_CONFIRM_H
#define ZP_OCI_CONFIRM_H

#include "base/digest.h"
#include "oci/source.h"

/* Asks the registry for the manifest of that digest, by HEAD (GET where it has no HEAD), and as a pull would: its
 * mirrors first, with the credentials of `options`, again while that makes sense. 0: it may be read. -EACCES: the
 * registry says no, or that there is no such thing, which is how some of them say no. Else no answer came, or none
 * that means anything. */
int zp_confirm_readable(const char *registry, const char *repository, const struct zp_digest *manifest,
                        const struct zp_source_options *options, struct zp_error *err);

#endif
