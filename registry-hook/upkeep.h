/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that does what is due now and then, and may take its time: reconcile polls, retention, history.
 */
#ifndef HOOK_UPKEEP_H
#define HOOK_UPKEEP_H

#include "registry-hook/config.h"
#include "registry-hook/db.h"

struct hook_upkeep;

struct hook_upkeep_options {
        struct hook_db *db;
        struct hook_current *current;
        void (*queued)(void *context);  /* events were queued */
        void (*removed)(void *context); /* a snapshot was, or was to be: a build that waits for that may start */
        void *context;
};
int hook_upkeep_new(const struct hook_upkeep_options *options, struct hook_upkeep **out, struct zp_error *err);
/* Do all of it now, the polls of every registry included. Any thread. */
void hook_upkeep_hurry(struct hook_upkeep *upkeep);
void hook_upkeep_free(struct hook_upkeep *upkeep);

#endif
