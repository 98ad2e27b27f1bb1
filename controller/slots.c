/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/slots.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "controller/owners.h"

/* A namespace that has slots, or waits for some. */
struct space {
        struct space *next;
        size_t slots, held; /* slots: of both kinds */
        char name[];
};

struct slot {
        struct slot *next; /* in the order in which they came */
        struct space *space;
        struct ctl_owner *owners;
        char *build;
        int priority; /* the highest of the owners' */
        bool is_held;
};

struct ctl_slots {
        size_t limit, namespace_limit;
        void (*wake)(void *context, const char *owner);
        void *context;
        pthread_mutex_t lock; /* guards all below */
        struct slot *first, **end;
        struct space *spaces;
        size_t held, waiting;
};

int ctl_slots_new(size_t limit, size_t namespace_limit, void (*wake)(void *context, const char *owner), void *context,
                  struct ctl_slots **out, struct zp_error *err) {
        struct ctl_slots *slots = calloc(1, sizeof *slots);
        if (!slots)
                return zp_error_errno(err, ENOMEM, "slots");
        *slots = (struct ctl_slots){
                .limit = limit, .namespace_limit = namespace_limit, .wake = wake, .context = context
        };
        slots->end = &slots->first;
        pthread_mutex_init(&slots->lock, NULL);
        *out = slots;
        return 0;
}

static void slot_free(struct slot *slot) {
        ctl_owners_free(slot->owners);
        free(slot->build);
        free(slot);
}

void ctl_slots_free(struct ctl_slots *slots) {
        if (!slots)
                return;
        for (struct slot *slot = slots->first, *next; slot; slot = next) {
                next = slot->next;
                slot_free(slot);
        }
        for (struct space *space = slots->spaces, *next; space; space = next) {
                next = space->next;
                free(space);
        }
        pthread_mutex_destroy(&slots->lock);
        free(slots);
}

/* ---- with the lock ---- */

static struct slot *find(struct ctl_slots *slots, const char *build) {
        struct slot *slot = slots->first;
        while (slot && strcmp(slot->build, build) != 0)
                slot = slot->next;
        return slot;
}

static struct space *space_of(struct ctl_slots *slots, const char *build) {
        size_t size = strcspn(build, "/");
        struct space *space = slots->spaces;
        while (space && (strncmp(space->name, build, size) != 0 || space->name[size]))
                space = space->next;
        if (space || !(space = calloc(1, sizeof *space + size + 1)))
                return space;
        memcpy(space->name, build, size);
        space->next = slots->spaces;
        slots->spaces = space;
        return space;
}

static void leave(struct ctl_slots *slots, struct space *space) {
        struct space **link = &slots->spaces;
        if (--space->slots > 0)
                return;
        while (*link != space)
                link = &(*link)->next;
        *link = space->next;
        free(space);
}

static bool join(struct slot *slot, const char *owner, int priority) {
        bool is_noted = ctl_owners_join(&slot->owners, owner, priority);
        slot->priority = ctl_owners_priority(slot->owners);
        return is_noted;
}

static struct slot *add(struct ctl_slots *slots, const char *build, const char *owner, int priority) {
        struct slot *slot = calloc(1, sizeof *slot);
        if (!slot || !(slot->build = strdup(build)) || !join(slot, owner, priority) ||
            !(slot->space = space_of(slots, build))) {
                if (slot)
                        slot_free(slot);
                return NULL;
        }
        slot->space->slots++;
        *slots->end = slot;
        slots->end = &slot->next;
        slots->waiting++;
        return slot;
}

static void hold(struct ctl_slots *slots, struct slot *slot) {
        slot->is_held = true;
        slot->space->held++;
        slots->waiting--;
        slots->held++;
}

static void take_out(struct ctl_slots *slots, struct slot *slot) {
        struct slot **link = &slots->first;
        while (*link != slot)
                link = &(*link)->next;
        *link = slot->next;
        if (slots->end == &slot->next)
                slots->end = link;
        *(slot->is_held ? &slots->held : &slots->waiting) -= 1;
        slot->space->held -= slot->is_held;
        leave(slots, slot->space);
        slot_free(slot);
}

/* Without anybody left the slot goes. */
static void quit(struct ctl_slots *slots, struct slot *slot, const char *owner) {
        if (!ctl_owners_quit(&slot->owners, owner))
                return;
        slot->priority = ctl_owners_priority(slot->owners);
        if (!slot->owners)
                take_out(slots, slot);
}

static bool is_before(const struct slot *slot, const struct slot *best) {
        if (!best || slot->priority != best->priority)
                return !best || slot->priority > best->priority;
        return slot->space->held < best->space->held;
}

/* Whose turn it is now; NULL: nobody's. */
static struct slot *next_one(const struct ctl_slots *slots) {
        struct slot *best = NULL;
        if (slots->held >= slots->limit || slots->waiting == 0)
                return NULL;
        for (struct slot *slot = slots->first; slot; slot = slot->next)
                if (!slot->is_held && slot->space->held < slots->namespace_limit && is_before(slot, best))
                        best = slot;
        return best;
}

/* ---- without ---- */

/* Frees them. */
static void wake(struct ctl_slots *slots, struct ctl_owner *owners, const char *except) {
        for (const struct ctl_owner *owner = owners; owner; owner = owner->next)
                if (strcmp(owner->name, except) != 0)
                        slots->wake(slots->context, owner->name);
        ctl_owners_free(owners);
}

static void grant(struct ctl_slots *slots) {
        for (bool is_granted = true; is_granted;) {
                struct ctl_owner *owners = NULL;
                pthread_mutex_lock(&slots->lock);
                struct slot *best = next_one(slots);
                is_granted = best && ctl_owners_copy(best->owners, &owners);
                if (is_granted)
                        hold(slots, best);
                pthread_mutex_unlock(&slots->lock);
                wake(slots, owners, "");
        }
}

bool ctl_slots_take(struct ctl_slots *slots, const char *build, const char *owner, int priority) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        bool is_new = !slot;
        bool is_noted = is_new ? (slot = add(slots, build, owner, priority)) != NULL : join(slot, owner, priority);
        /* nobody else who waits may have what room there is, or they would have been told */
        if (is_new && is_noted && next_one(slots) == slot)
                hold(slots, slot);
        bool is_held = is_noted && slot->is_held;
        pthread_mutex_unlock(&slots->lock);
        return is_held;
}

void ctl_slots_hold(struct ctl_slots *slots, const char *build, const char *owner) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        if (slot)
                join(slot, owner,
                     0); /* without memory, who has it is told all the same: it is looked at now and then */
        else
                slot = add(slots, build, owner, 0);
        if (slot && !slot->is_held)
                hold(slots, slot);
        pthread_mutex_unlock(&slots->lock);
}

void ctl_slots_give(struct ctl_slots *slots, const char *build, const char *owner) {
        struct ctl_owner *owners = NULL;
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        if (slot) {
                owners = zp_steal(&slot->owners);
                take_out(slots, slot);
        }
        pthread_mutex_unlock(&slots->lock);
        wake(slots, owners, owner);
        grant(slots);
}

void ctl_slots_leave(struct ctl_slots *slots, const char *build, const char *owner) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        if (slot)
                quit(slots, slot, owner);
        pthread_mutex_unlock(&slots->lock);
        grant(slots);
}

static bool contains(const char *const *texts, const char *text) {
        for (; *texts; texts++)
                if (strcmp(*texts, text) == 0)
                        return true;
        return false;
}

void ctl_slots_keep_only(struct ctl_slots *slots, const char *owner, const char *const *kept) {
        pthread_mutex_lock(&slots->lock);
        for (struct slot *slot = slots->first, *next; slot; slot = next) {
                next = slot->next;
                if (!contains(kept, slot->build))
                        quit(slots, slot, owner);
        }
        pthread_mutex_unlock(&slots->lock);
        grant(slots);
}

struct ctl_slots_statistics ctl_slots_statistics(struct ctl_slots *slots) {
        pthread_mutex_lock(&slots->lock);
        struct ctl_slots_statistics s = { slots->held, slots->waiting };
        pthread_mutex_unlock(&slots->lock);
        return s;
}
