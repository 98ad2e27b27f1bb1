/* SPDX-License-Identifier: Apache-2.0
 *
 * How a runtime shall run a program of an image (OCI runtime-spec 1.0), for `profile record`.
 */
#ifndef ZP_CLI_RUNTIME_SPEC_H
#define ZP_CLI_RUNTIME_SPEC_H

#include "store/store.h"

/* `command` (NULL-terminated; empty: the image's entry point and command) in the image's environment, directory and,
 * when that is a number, user. The root file system is "rootfs" in the bundle. *out is malloc'ed JSON, the caller's. */
int cli_runtime_spec(struct zp_store *store, const struct zp_image_record *image, char *const *command, char **out,
                     struct zp_error *err);

#endif
