/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes a snapshot back out of a registry.
 */
#ifndef HOOK_REMOVAL_H
#define HOOK_REMOVAL_H

#include "base/cancel.h"
#include "registry-hook/config.h"

/* Whether the registry still has a manifest. An error leaves *is_there as it was. */
int hook_removal_is_there(const struct hook_registry *registry, const char *host, const char *repository,
                          const char *digest, const struct zp_cancel *cancel, bool *is_there, struct zp_error *err);
/* Whether a target still has an artifact; where there is nothing to be asked (no registry, or none of the configuration
 * any more), it has. */
int hook_removal_has(const struct hook_config *config, const char *target, const char *artifact,
                     const struct zp_cancel *cancel, bool *is_there, struct zp_error *err);
/* Deletes an artifact and its entry under the fallback tag of its image. `target` is a remote's name; -ENOTSUP: not one
 * of a registry, or the registry deletes nothing. One that is not there is success. */
int hook_removal_remove(const struct hook_config *config, const char *target, const char *digest, const char *artifact,
                        const struct zp_cancel *cancel, struct zp_error *err);

#endif
