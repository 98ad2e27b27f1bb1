/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that has devices closed that nobody has used for a while, by others: one that hangs keeps up its own.
 */
#include "snapshotter/data/table-internal.h"

#include "base/resident.h"

/* More open devices than this, and all that are idle are closed at once: a thousand are asked for when images are
 * mounted again after a reboot. */
#define OPEN_MAX 64
#define MANY_WAIT_MS 100

static void close_entry(void *argument, unsigned worker) {
        (void) worker;
        struct snap_entry *entry = argument;
        struct snap_table *table = entry->table;
        zp_device_close(entry->device); /* nobody else is at it */
        pthread_mutex_lock(&table->lock);
        entry->device = NULL;
        entry->is_changing = false;
        if (entry->waiting)
                snap_entry_begin_open(entry);
        pthread_mutex_unlock(&table->lock);
}

/* Has the device closed if nobody used it since `before`. It is idle, so nothing of it is under way that could hold
 * that up; but a disk may be slow to sync what was kept. */
static void close_idle(struct snap_entry *entry, uint64_t before) {
        struct snap_table *table = entry->table;
        if (!entry->device || entry->is_changing || entry->users || entry->used_ms > before ||
            !zp_device_is_idle(entry->device))
                return;
        entry->is_changing = true;
        table->open_count--;
        zp_pool_submit(table->closers, &entry->item, close_entry, entry);
}

static void close_all_idle(struct snap_table *table, uint64_t before) {
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i]; entry; entry = entry->next)
                        close_idle(entry, before);
}

void *snap_table_close_in_time(void *argument) {
        struct snap_table *table = argument;
        pthread_mutex_lock(&table->lock);
        while (!table->is_ending) {
                uint64_t now = zp_monotonic_ms(), idle_ms = table->open_count > OPEN_MAX ? 0 : table->idle_ms;
                close_all_idle(table, now > idle_ms ? now - idle_ms : 0);
                if (!table->is_ending && table->open_count == 0) {
                        pthread_mutex_unlock(&table->lock);
                        zp_resident_rest();
                        pthread_mutex_lock(&table->lock);
                }
                while (!table->is_ending && table->open_count == 0)
                        pthread_cond_wait(&table->closer_wake, &table->lock);
                bool are_many = table->open_count > OPEN_MAX;
                uint64_t wake_ms = now + (are_many ? MANY_WAIT_MS : table->idle_ms / 4 + 1);
                while (!table->is_ending && (are_many || table->open_count <= OPEN_MAX) &&
                       zp_condition_wait_until(&table->closer_wake, &table->lock, wake_ms))
                        continue;
        }
        pthread_mutex_unlock(&table->lock);
        return NULL;
}
