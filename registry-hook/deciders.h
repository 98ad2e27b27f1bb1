/* SPDX-License-Identifier: Apache-2.0
 *
 * The threads that decide about events, several at a time because registries take their time to answer.
 */
#ifndef HOOK_DECIDERS_H
#define HOOK_DECIDERS_H

#include "registry-hook/config.h"
#include "registry-hook/db.h"
#include "registry-hook/live.h"

struct hook_deciders;

struct hook_deciders_options {
        struct hook_db *db;
        struct hook_current *current;
        struct hook_live *live;
        void (*queued)(void *context); /* builds were queued; any thread */
        void *context;
};
int hook_deciders_new(const struct hook_deciders_options *options, struct hook_deciders **out, struct zp_error *err);
/* Events have come. Any thread. */
void hook_deciders_wake(struct hook_deciders *deciders);
/* Ends the threads; what they were at stays queued. */
void hook_deciders_free(struct hook_deciders *deciders);

#endif
