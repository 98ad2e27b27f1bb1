/* SPDX-License-Identifier: Apache-2.0
 *
 * Removes snapshots of images that are gone, or that no tag names any more, as their rule allows.
 */
#ifndef HOOK_RETENTION_H
#define HOOK_RETENTION_H

#include <jansson.h>

#include "base/cancel.h"
#include "registry-hook/config.h"
#include "registry-hook/db.h"

/* Notes since when each snapshot's image is gone or without a tag. Asks the registries, one image after the other,
 * about those whose rule removes what is gone. */
int hook_retention_survey(struct hook_db *db, const struct hook_config *config, const struct zp_cancel *cancel,
                          struct zp_error *err);
/* What would be removed now, by what the last survey noted: an array of {digest, target, repository, platform,
 * artifact, rule, reason}. */
int hook_retention_list(struct hook_db *db, const struct hook_config *config, int64_t now_ms, json_t **out,
                        struct zp_error *err);
/* Removes it from the registries. What cannot be removed is logged, and stays, as does what was seen again since the
 * survey. `settled` is called after each, removed or not: a build that waited for that may start. An error is the
 * database's, or -EAGAIN: a registry did not say what came of a removal. The next call takes up what is left undone. For
 * one thread. */
int hook_retention_remove(struct hook_db *db, const struct hook_config *config, const struct zp_cancel *cancel,
                          int64_t now_ms, void (*settled)(void *context), void *context, struct zp_error *err);

#endif
