/* SPDX-License-Identifier: Apache-2.0
 *
 * Where a snapshot goes to, or comes from, when the user does not say: beside its image.
 */
#ifndef ZP_CLI_REMOTE_NAMES_H
#define ZP_CLI_REMOTE_NAMES_H

#include "remote/remote.h"

/* "docker://registry/repository" of an image's name "docker://registry/repository:tag"; -EINVAL (with a hint to the
 * command's way to name a remote) when the image is not from a registry. *out malloc'ed, the caller's. */
int cli_remote_beside(const char *image_name, const char *hint, char **out, struct zp_error *err);

/* Of an image's names the one that tells where it was built from when `text`, as typed, found it: the one that holds
 * `text`, or else the first in a registry, or the first. NULL when it has none. */
const char *cli_remote_name_of(char *const *names, const char *text);

/* What using the remote still opens by its path: the directory itself, or the CA file of its connections; NULL:
 * nothing. What a process that confines itself has to leave within reach. */
const char *cli_remote_local_path(const struct zp_remote *remote, const struct zp_source_options *options);

#endif
