/* SPDX-License-Identifier: Apache-2.0
 *
 * Who wants a build: a list of names, each with a priority. NULL is the empty one.
 */
#ifndef CTL_OWNERS_H
#define CTL_OWNERS_H

#include <stdbool.h>

struct ctl_owner {
        struct ctl_owner *next;
        int priority;
        char name[];
};

/* Adds him, or sets his priority. False: no memory, and nothing has changed. */
bool ctl_owners_join(struct ctl_owner **owners, const char *name, int priority);
/* False: he was none of them. */
bool ctl_owners_quit(struct ctl_owner **owners, const char *name);
/* The highest of theirs; 0 of none. */
int ctl_owners_priority(const struct ctl_owner *owners);
/* In any order. False: no memory, and *out is empty. */
bool ctl_owners_copy(const struct ctl_owner *owners, struct ctl_owner **out);
void ctl_owners_free(struct ctl_owner *owners);

#endif
