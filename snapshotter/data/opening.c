/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening devices on threads of their own, and those who wait for it: a store or a preload that hangs keeps nobody but
 * them, and what fails for a while is tried again until they have waited as long as a read may.
 */
#include <stdio.h>
#include <stdlib.h>

#include "snapshotter/data/table-internal.h"

#define PAUSE_FIRST_MS 100
#define PAUSE_MAX_MS 1000
/* As for reads of an open device: so soon the kernel comes again, for a short second attempt. */
#define AGAIN_MS 2000
#define TELL_EVERY_MS 60000
#define SECOND_SHARE 60
#define SECOND_MIN_MS 100

/* Has the thread that keeps the time look again no later than then. Lock held. */
static void look_again_by(struct snap_table *table, uint64_t ms) {
        if (table->next_ms && table->next_ms <= ms)
                return;
        table->next_ms = ms;
        pthread_cond_signal(&table->waits_wake);
}

/* Tells each in the list: that the device is open, and theirs until they let go, or why not. */
static void tell(struct snap_wait *waiting, struct snap_entry *entry, int result, const struct zp_error *err) {
        for (struct snap_wait *wait = waiting, *next; wait; wait = next) {
                next = wait->next;
                wait->done(wait, result < 0 ? NULL : entry, result, err);
        }
}

/* ---- opening ---- */

/* A preload that does not answer could have a device of that number; an image's disk needs none. */
static bool is_disk(struct snap_data *data, uint64_t id) {
        struct snap_disk *disk = snap_disks_find(data->disks, id);
        if (disk)
                snap_disks_let_go(data->disks, disk);
        return disk;
}

static int open_device(struct snap_entry *entry, struct zp_device **out, struct zp_error *err) {
        struct snap_table *table = entry->table;
        struct zp_digest digest;
        pthread_mutex_lock(&table->lock);
        bool has_digest = entry->has_digest;
        digest = entry->digest;
        pthread_mutex_unlock(&table->lock);
        int r = has_digest ? 0 : snap_files_resolve(table->data, entry->id, &digest, err);
        if (r == -ETIMEDOUT && is_disk(table->data, entry->id))
                return -ENOENT;
        if (r < 0)
                return r;
        pthread_mutex_lock(&table->lock);
        if (!entry->has_digest)
                entry->digest = digest;
        else
                digest = entry->digest;
        entry->has_digest = true;
        pthread_mutex_unlock(&table->lock);
        return snap_device_open(table->data, &digest, &entry->remote, out, err);
}

/* The next attempt to open it would end in the same way. */
static bool is_device_unusable(int result) {
        return result == -ENOENT || result == -EEXIST || result == -EBADMSG;
}

/* Nobody knows of a device that was never open: as many names can be asked for as there are. Lock held. */
static void remove_entry(struct snap_entry *entry) {
        struct snap_entry **link = &entry->table->buckets[entry->id % SNAP_TABLE_BUCKETS];
        while (*link != entry)
                link = &(*link)->next;
        *link = entry->next;
        free(entry->why);
        snap_remote_clear(&entry->remote);
        free(entry);
}

static void remember_why(struct snap_entry *entry, const struct zp_error *err) {
        if (!entry->why)
                entry->why = malloc(sizeof *entry->why);
        if (entry->why)
                *entry->why = *err;
        unsigned pause = 2 * entry->pause_ms;
        entry->pause_ms = pause == 0 ? PAUSE_FIRST_MS : pause < PAUSE_MAX_MS ? pause : PAUSE_MAX_MS;
}

/* No opener waits for it: the thread that keeps the time does. Lock held. */
static void pause_entry(struct snap_entry *entry) {
        entry->retry_at_ms = zp_monotonic_ms() + entry->pause_ms;
        look_again_by(entry->table, entry->retry_at_ms);
}

/* Nobody is at it, and nobody waits for it. Lock held. */
static void leave(struct snap_entry *entry) {
        entry->is_changing = false;
        if (!entry->size)
                remove_entry(entry);
}

/* The first who came comes first; of a device that is open now, they are its users. Lock held. */
static struct snap_wait *take_all(struct snap_entry *entry, bool is_open) {
        struct snap_wait *waiting = NULL;
        for (struct snap_wait *wait; (wait = entry->waiting);) {
                entry->waiting = wait->next;
                wait->next = waiting;
                waiting = wait;
                entry->users += is_open;
        }
        return waiting;
}

/* Those who are told now; none when they wait on, and it is tried again after a pause. Lock held. */
static struct snap_wait *settle(struct snap_entry *entry, struct zp_device *device, int result,
                                const struct zp_error *err) {
        struct snap_table *table = entry->table;
        if (result < 0 && !is_device_unusable(result) && !table->is_ending) {
                remember_why(entry, err);
                if (entry->waiting)
                        pause_entry(entry);
                else
                        leave(entry);
                return NULL;
        }
        struct snap_wait *waiting = take_all(entry, result == 0);
        free(entry->why);
        entry->why = NULL;
        entry->pause_ms = 0;
        if (result < 0) {
                leave(entry);
                return waiting;
        }
        entry->is_changing = false;
        entry->device = device;
        entry->size = zp_device_size(device);
        entry->used_ms = zp_monotonic_ms();
        table->open_count++;
        pthread_cond_signal(&table->closer_wake);
        return waiting;
}

static void open_entry(void *argument, unsigned worker) {
        (void) worker;
        struct snap_entry *entry = argument;
        struct snap_table *table = entry->table;
        struct zp_device *device = NULL;
        struct zp_error err = { 0 };
        int r = open_device(entry, &device, &err);
        pthread_mutex_lock(&table->lock);
        struct snap_wait *waiting = settle(entry, device, r, &err);
        pthread_mutex_unlock(&table->lock);
        tell(waiting, entry, r, &err);
}

void snap_entry_begin_open(struct snap_entry *entry) {
        entry->is_changing = true;
        zp_pool_submit(entry->table->openers, &entry->item, open_entry, entry);
}

/* Has what has paused long enough opened again, behind those that have not been tried yet. When all ends, nothing
 * pauses: whoever waits is told by the last attempt. Lock held. */
static void try_again(struct snap_table *table) {
        uint64_t now = zp_monotonic_ms();
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i], *next; entry; entry = next) {
                        next = entry->next;
                        if (!entry->retry_at_ms)
                                continue;
                        if (entry->retry_at_ms > now && !table->is_ending) {
                                look_again_by(table, entry->retry_at_ms);
                                continue;
                        }
                        entry->retry_at_ms = 0;
                        if (entry->waiting)
                                snap_entry_begin_open(entry);
                        else
                                leave(entry);
                }
}

/* ---- waiting ---- */

void snap_entry_wait(struct snap_entry *entry, struct snap_wait *wait) {
        struct snap_table *table = entry->table;
        uint64_t now = zp_monotonic_ms(), whole = table->deadline_ms, second = whole / SECOND_SHARE;
        if (second < SECOND_MIN_MS)
                second = SECOND_MIN_MS;
        if (whole > 2 * second)
                whole -= second;
        wait->is_second = wait->comes_again && entry->given_up && now < entry->again_until_ms;
        if (wait->is_second)
                entry->given_up--;
        wait->deadline_ms = now + (wait->is_second ? second : whole);
        wait->next = entry->waiting;
        entry->waiting = wait;
        look_again_by(table, wait->deadline_ms);
}

/* Takes out those who have waited long enough. Lock held. */
static struct snap_wait *take_late(struct snap_entry *entry, uint64_t now) {
        struct snap_wait *late = NULL, *wait;
        for (struct snap_wait **link = &entry->waiting; (wait = *link);) {
                if (wait->deadline_ms > now) {
                        look_again_by(entry->table, wait->deadline_ms);
                        link = &wait->next;
                        continue;
                }
                *link = wait->next;
                wait->next = late;
                late = wait;
                if (now >= entry->again_until_ms)
                        entry->given_up = 0;
                entry->given_up += wait->comes_again && !wait->is_second;
                entry->again_until_ms = now + AGAIN_MS;
        }
        return late;
}

/* Only the number is known as long as no place was found that has the device. Lock held. */
static void say_late(const struct snap_entry *entry, struct zp_error *err) {
        char name[ZP_SHA256_HEX_SIZE];
        if (entry->has_digest)
                zp_digest_hex(&entry->digest, name);
        else
                snprintf(name, sizeof name, "%016llx…", (unsigned long long) entry->id);
        zp_error_set(
                err, EIO,
                "device %s: it cannot be opened in time: %s: see the store and the preloads; later reads try again",
                name, entry->why ? entry->why->message : "where its files are does not answer");
}

/* Of one device, if there are any; *is_news: an administrator has not been told lately. Lock held. */
static struct snap_wait *take_some_late(struct snap_table *table, bool *is_news, struct zp_error *err) {
        uint64_t now = zp_monotonic_ms();
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i]; entry; entry = entry->next) {
                        struct snap_wait *late = take_late(entry, now);
                        if (!late)
                                continue;
                        say_late(entry, err);
                        *is_news = now >= entry->tell_again_ms;
                        if (*is_news)
                                entry->tell_again_ms = now + TELL_EVERY_MS;
                        table->next_ms = now; /* of other devices */
                        return late;
                }
        *is_news = false;
        return NULL;
}

/* Until there is something to look at. Lock held. */
static void wait_until_due(struct snap_table *table) {
        while (!table->is_ending && (!table->next_ms || table->next_ms > zp_monotonic_ms())) {
                if (table->next_ms)
                        zp_condition_wait_until(&table->waits_wake, &table->lock, table->next_ms);
                else
                        pthread_cond_wait(&table->waits_wake, &table->lock);
        }
        table->next_ms = 0;
}

void *snap_table_keep_time(void *argument) {
        struct snap_table *table = argument;
        const struct zp_device_options *options = &table->data->options->device;
        pthread_mutex_lock(&table->lock);
        for (;;) {
                struct zp_error err = { 0 };
                bool is_news;
                wait_until_due(table);
                try_again(table);
                if (table->is_ending)
                        break;
                struct snap_wait *late = take_some_late(table, &is_news, &err);
                if (!late)
                        continue;
                pthread_mutex_unlock(&table->lock);
                if (is_news && options->notice)
                        options->notice(options->context, err.message);
                tell(late, NULL, -EIO, &err);
                pthread_mutex_lock(&table->lock);
        }
        pthread_mutex_unlock(&table->lock);
        return NULL;
}
