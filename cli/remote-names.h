/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a snapshot goes to, or comes from, when the user does not say: beside its image.
 */
#ifndef ZP_CLI_REMOTE_NAMES_H
#define ZP_CLI_REMOTE_NAMES_H

#include "base/error.h"

/* "docker://registry/repository" of an image's name "docker://registry/repository:tag"; -EINVAL (with a hint to the
 * command's way to name a remote) when the image is not from a registry. *out malloc'ed, the caller's. */
int cli_remote_beside(const char *image_name, const char *hint, char **out, struct zp_error *err);

#endif
