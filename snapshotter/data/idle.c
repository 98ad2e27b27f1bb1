/* SPDX-License-Identifier: Apache-2.0
 *
 * The thread that closes devices that nobody has used for a while.
 */
#include "snapshotter/data/table-internal.h"

#include <time.h>

/* More open devices than this, and all that are idle are closed at once: a thousand are asked for when images are
 * mounted again after a reboot. */
#define OPEN_MAX 64
#define MANY_WAIT_MS 100

/* Closes the device if nobody used it since `before`. The lock is given back. */
static void close_idle(struct snap_entry *entry, uint64_t before) {
        struct snap_table *table = entry->table;
        if (!entry->device || entry->is_changing || entry->users || entry->used_ms > before ||
            !zp_device_is_idle(entry->device))
                return;
        struct zp_device *device = entry->device;
        entry->is_changing = true;
        entry->device = NULL;
        table->open_count--;
        table->closed_count++;
        pthread_mutex_unlock(&table->lock);
        zp_device_close(device);
        pthread_mutex_lock(&table->lock);
        entry->is_changing = false;
        if (entry->waiting)
                snap_entry_begin_open(entry);
}

static void close_all_idle(struct snap_table *table, uint64_t before) {
        /* the lock is away in between, but nobody removes an entry that is changing */
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i]; entry; entry = entry->next)
                        close_idle(entry, before);
}

void *snap_table_close_in_time(void *argument) {
        struct snap_table *table = argument;
        pthread_mutex_lock(&table->lock);
        while (!table->is_ending) {
                uint64_t closed_before = table->closed_count;
                uint64_t now = snap_data_now_ms(), idle_ms = table->open_count > OPEN_MAX ? 0 : table->idle_ms;
                close_all_idle(table, now > idle_ms ? now - idle_ms : 0);
                /* the lock was away: by now others may be open, in places passed already, or all is to end */
                while (!table->is_ending && table->open_count == 0)
                        pthread_cond_wait(&table->closer_wake, &table->lock);
                bool are_many = table->open_count > OPEN_MAX;
                if (are_many && table->closed_count > closed_before)
                        continue; /* more were opened meanwhile */
                uint64_t wake_ms = now + (are_many ? MANY_WAIT_MS : table->idle_ms / 4 + 1);
                struct timespec until = { (time_t) (wake_ms / 1000), (long) (wake_ms % 1000) * 1000000 };
                while (!table->is_ending && (are_many || table->open_count <= OPEN_MAX) &&
                       pthread_cond_timedwait(&table->closer_wake, &table->lock, &until) != ETIMEDOUT)
                        continue;
        }
        pthread_mutex_unlock(&table->lock);
        return NULL;
}
