/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/owners.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* Where he is, or the list's end. */
static struct ctl_owner **find(struct ctl_owner **owners, const char *name) {
        while (*owners && strcmp((*owners)->name, name) != 0)
                owners = &(*owners)->next;
        return owners;
}

bool ctl_owners_join(struct ctl_owner **owners, const char *name, int priority) {
        struct ctl_owner **link = find(owners, name);
        if (!*link && (*link = calloc(1, sizeof **link + strlen(name) + 1)))
                strcpy((*link)->name, name);
        if (!*link)
                return false;
        (*link)->priority = priority;
        return true;
}

bool ctl_owners_quit(struct ctl_owner **owners, const char *name) {
        struct ctl_owner **link = find(owners, name), *owner = *link;
        if (!owner)
                return false;
        *link = owner->next;
        free(owner);
        return true;
}

int ctl_owners_priority(const struct ctl_owner *owners) {
        int highest = owners ? owners->priority : 0;
        for (; owners; owners = owners->next)
                if (owners->priority > highest)
                        highest = owners->priority;
        return highest;
}

bool ctl_owners_copy(const struct ctl_owner *owners, struct ctl_owner **out) {
        *out = NULL;
        for (; owners; owners = owners->next)
                if (!ctl_owners_join(out, owners->name, owners->priority)) {
                        ctl_owners_free(zp_steal(out));
                        return false;
                }
        return true;
}

void ctl_owners_free(struct ctl_owner *owners) {
        for (struct ctl_owner *next; owners; owners = next) {
                next = owners->next;
                free(owners);
        }
}
