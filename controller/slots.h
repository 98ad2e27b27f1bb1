/* SPDX-License-Identifier: Apache-2.0
 *
 * How many builds may run at a time, in all and of one namespace, and whose turn is next: the highest priority; of
 * equal ones the namespace of which the fewest run; of these who came first. Who wants the same build has the same slot
 * or waits for the same; its priority is the highest of theirs.
 */
#ifndef CTL_SLOTS_H
#define CTL_SLOTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/error.h"

/* Any thread. */
struct ctl_slots;
/* At most `limit` builds, and at most `namespace_limit` of one namespace: what is before the first '/' in a build's
 * name. `wake` is called, without a lock held, for each owner who has to look again: what he waited for has its turn
 * (ctl_slots_take() will be true), or was given back by another. */
int ctl_slots_new(size_t limit, size_t namespace_limit, void (*wake)(void *context, const char *owner), void *context,
                  struct ctl_slots **out, struct zp_error *err);
void ctl_slots_free(struct ctl_slots *slots);
ZP_DEFINE_AUTO(struct ctl_slots, ctl_slots_free);

/* True: the build may begin, and has a slot until it is given back; also when it has one already. False: it waits for
 * its turn (or there is no memory to note that). `owner` is who is told. */
bool ctl_slots_take(struct ctl_slots *slots, const char *build, const char *owner, int priority);
/* A build that runs already, whatever the limits. */
void ctl_slots_hold(struct ctl_slots *slots, const char *build, const char *owner);
/* The build is over, or did not begin, as `owner` has seen; its other owners are told. One that has no slot and does
 * not wait is success. */
void ctl_slots_give(struct ctl_slots *slots, const char *build, const char *owner);
/* This owner wants it no longer; with the last one the slot goes. */
void ctl_slots_leave(struct ctl_slots *slots, const char *build, const char *owner);
/* What the owner waits for, or has been granted: all of it, but for the builds in `kept` (up to a NULL). */
void ctl_slots_keep_only(struct ctl_slots *slots, const char *owner, const char *const *kept);

struct ctl_slots_statistics {
        size_t held, waiting;
};
struct ctl_slots_statistics ctl_slots_statistics(struct ctl_slots *slots);

#endif
