/* SPDX-License-Identifier: Apache-2.0
 *
 * Artifacts about an image (distribution-spec 1.1, "Listing Referrers"): by the referrers API where a registry has it,
 * by the fallback tag where not.
 */
#ifndef ZP_REMOTE_REFERRERS_H
#define ZP_REMOTE_REFERRERS_H

#include "remote/registry-internal.h"

int zp_referrers_publish(struct zp_registry_remote *remote, const struct zp_descriptor *subject,
                         const char *artifact_type, const char *manifest, size_t size, const struct zp_digest *digest,
                         struct zp_error *err);
int zp_referrers_find(struct zp_registry_remote *remote, const struct zp_digest *subject, const char *artifact_type,
                      struct zp_remote_artifact **out, size_t *count, struct zp_error *err);

#endif
