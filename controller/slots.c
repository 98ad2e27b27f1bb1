/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/slots.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A namespace that has slots, or waits for some. */
struct space {
        struct space *next;
        size_t slots, held; /* slots: of both kinds */
        char name[];
};

struct slot {
        struct slot *next; /* in the order in which they came */
        struct space *space;
        char *build, *owner;
        int priority;
        bool is_held;
};

struct ctl_slots {
        size_t limit, namespace_limit;
        void (*granted)(void *context, const char *owner);
        void *context;
        pthread_mutex_t lock; /* guards all below */
        struct slot *first, **end;
        struct space *spaces;
        size_t held, waiting;
};

int ctl_slots_new(size_t limit, size_t namespace_limit, void (*granted)(void *context, const char *owner),
                  void *context, struct ctl_slots **out, struct zp_error *err) {
        struct ctl_slots *slots = calloc(1, sizeof *slots);
        if (!slots)
                return zp_error_errno(err, ENOMEM, "slots");
        *slots = (struct ctl_slots){
                .limit = limit, .namespace_limit = namespace_limit, .granted = granted, .context = context
        };
        slots->end = &slots->first;
        pthread_mutex_init(&slots->lock, NULL);
        *out = slots;
        return 0;
}

static void slot_free(struct slot *slot) {
        free(slot->build);
        free(slot->owner);
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

static struct slot *add(struct ctl_slots *slots, const char *build, const char *owner, int priority) {
        struct slot *slot = calloc(1, sizeof *slot);
        if (!slot || !(slot->build = strdup(build)) || !(slot->owner = strdup(owner)) ||
            !(slot->space = space_of(slots, build))) {
                if (slot)
                        slot_free(slot);
                return NULL;
        }
        slot->space->slots++;
        slot->priority = priority;
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

/* The owner, malloc'ed. */
static char *grant_next(struct ctl_slots *slots) {
        struct slot *best = next_one(slots);
        char *owner = best ? strdup(best->owner) : NULL;
        if (owner)
                hold(slots, best);
        return owner;
}

/* ---- without ---- */

static void grant(struct ctl_slots *slots) {
        for (;;) {
                pthread_mutex_lock(&slots->lock);
                zp_autofree char *owner = grant_next(slots);
                pthread_mutex_unlock(&slots->lock);
                if (!owner)
                        return;
                slots->granted(slots->context, owner);
        }
}

bool ctl_slots_take(struct ctl_slots *slots, const char *build, const char *owner, int priority) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        bool is_new = !slot;
        if (is_new)
                slot = add(slots, build, owner, priority);
        else if (!slot->is_held)
                slot->priority = priority;
        /* nobody else who waits may have what room there is, or they would have been told */
        if (slot && is_new && next_one(slots) == slot)
                hold(slots, slot);
        bool is_held = slot && slot->is_held;
        pthread_mutex_unlock(&slots->lock);
        return is_held;
}

void ctl_slots_hold(struct ctl_slots *slots, const char *build, const char *owner) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        if (!slot)
                slot = add(slots, build, owner, 0);
        if (slot && !slot->is_held)
                hold(slots, slot);
        pthread_mutex_unlock(&slots->lock);
}

void ctl_slots_give(struct ctl_slots *slots, const char *build) {
        pthread_mutex_lock(&slots->lock);
        struct slot *slot = find(slots, build);
        if (slot)
                take_out(slots, slot);
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
                if (strcmp(slot->owner, owner) == 0 && !contains(kept, slot->build))
                        take_out(slots, slot);
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
