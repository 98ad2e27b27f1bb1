/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by number. An entry stays once it was made: it is small, and the kernel asks for sizes again. The device in
 * it is open only while it is used.
 */
#include "snapshotter/data/data-internal.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define BUCKETS 1024
#define DEFAULT_IDLE_MS 30000
/* More open devices than this, and all that are idle are closed at once: a thousand are asked for when images are
 * mounted again after a reboot. */
#define OPEN_MAX 64
#define MANY_WAIT_MS 100

struct snap_entry {
        struct snap_entry *next;
        struct snap_table *table;
        uint64_t id;
        struct zp_digest digest;
        /* guarded by the table's lock */
        uint64_t size;
        struct zp_device *device; /* NULL: closed */
        bool is_changing;         /* somebody opens or closes it */
        unsigned users;
        uint64_t used_ms;
};

struct snap_table {
        struct snap_data *data;
        pthread_mutex_t lock;
        pthread_cond_t changed, closer_wake;
        struct snap_entry *buckets[BUCKETS];
        pthread_t closer;
        bool has_closer;
        bool is_ending; /* guarded by lock */
        uint64_t idle_ms;
        unsigned open_count;   /* guarded by lock */
        uint64_t closed_count; /* guarded by lock */
};

uint64_t snap_data_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static struct snap_entry *find(struct snap_table *table, uint64_t id) {
        struct snap_entry *entry = table->buckets[id % BUCKETS];
        while (entry && entry->id != id)
                entry = entry->next;
        return entry;
}

static struct snap_entry *add(struct snap_table *table, uint64_t id, const struct zp_digest *digest) {
        struct snap_entry *entry = calloc(1, sizeof *entry);
        if (!entry)
                return NULL;
        entry->table = table;
        entry->id = id;
        entry->digest = *digest;
        entry->next = table->buckets[id % BUCKETS];
        table->buckets[id % BUCKETS] = entry;
        return entry;
}

/* Opens the device; the lock is given back meanwhile, and others wait. */
static int open_device(struct snap_entry *entry, struct zp_error *err) {
        struct snap_table *table = entry->table;
        struct zp_device *device = NULL;
        entry->is_changing = true;
        pthread_mutex_unlock(&table->lock);
        int r = snap_device_open(table->data, &entry->digest, &device, err);
        pthread_mutex_lock(&table->lock);
        entry->is_changing = false;
        entry->device = device;
        if (r == 0) {
                entry->size = zp_device_size(device);
                table->open_count++;
        }
        pthread_cond_broadcast(&table->changed);
        pthread_cond_signal(&table->closer_wake);
        return r;
}

static int use(struct snap_entry *entry, struct zp_error *err) {
        struct snap_table *table = entry->table;
        entry->users++; /* nobody closes it from here on */
        while (entry->is_changing)
                pthread_cond_wait(&table->changed, &table->lock);
        int r = entry->device ? 0 : open_device(entry, err);
        entry->used_ms = snap_data_now_ms();
        if (r < 0)
                entry->users--;
        return r;
}

int snap_table_get(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_entry **out,
                   struct zp_error *err) {
        struct zp_digest found;
        pthread_mutex_lock(&table->lock);
        struct snap_entry *entry = find(table, id);
        pthread_mutex_unlock(&table->lock);
        if (!entry && !digest) {
                int r = snap_files_resolve(table->data->options, id, &found, err);
                if (r < 0)
                        return r;
                digest = &found;
        }
        pthread_mutex_lock(&table->lock);
        if (!entry)
                entry = find(table, id); /* perhaps meanwhile */
        if (!entry)
                entry = add(table, id, digest);
        int r = entry ? 0 : zp_error_errno(err, ENOMEM, "device");
        if (r == 0 && digest && !zp_digest_equal(digest, &entry->digest))
                r = zp_error_set(err, EEXIST, "device %016llx…: another device in use begins so",
                                 (unsigned long long) id);
        if (r == 0)
                r = use(entry, err);
        pthread_mutex_unlock(&table->lock);
        *out = entry;
        return r;
}

void snap_table_let_go(struct snap_entry *entry) {
        struct snap_table *table = entry->table;
        pthread_mutex_lock(&table->lock);
        entry->users--;
        entry->used_ms = snap_data_now_ms();
        pthread_mutex_unlock(&table->lock);
}

struct zp_device *snap_entry_device(struct snap_entry *entry) {
        return entry->device; /* while it is used, nobody changes it */
}

bool snap_table_size(struct snap_table *table, uint64_t id, uint64_t *size) {
        pthread_mutex_lock(&table->lock);
        struct snap_entry *entry = find(table, id);
        bool is_known = entry && entry->size;
        if (is_known)
                *size = entry->size;
        pthread_mutex_unlock(&table->lock);
        return is_known;
}

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
        pthread_cond_broadcast(&table->changed);
}

static void close_all_idle(struct snap_table *table, uint64_t before) {
        for (unsigned i = 0; i < BUCKETS; i++) /* entries are never removed, so the list holds while the lock is away */
                for (struct snap_entry *entry = table->buckets[i]; entry; entry = entry->next)
                        close_idle(entry, before);
}

static void *close_in_time(void *argument) {
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

int snap_table_new(struct snap_data *data, struct snap_table **out, struct zp_error *err) {
        struct snap_table *table = calloc(1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "devices");
        table->data = data;
        table->idle_ms = data->options->idle_ms ? data->options->idle_ms : DEFAULT_IDLE_MS;
        pthread_condattr_t monotonic;
        pthread_condattr_init(&monotonic);
        pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
        pthread_mutex_init(&table->lock, NULL);
        pthread_cond_init(&table->changed, NULL);
        pthread_cond_init(&table->closer_wake, &monotonic);
        pthread_condattr_destroy(&monotonic);
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = pthread_create(&table->closer, NULL, close_in_time, table);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        table->has_closer = code == 0;
        *out = table;
        return code ? zp_error_errno(err, code, "start a thread") : 0;
}

void snap_table_free(struct snap_table *table) {
        if (!table)
                return;
        pthread_mutex_lock(&table->lock);
        table->is_ending = true;
        pthread_cond_signal(&table->closer_wake);
        pthread_mutex_unlock(&table->lock);
        if (table->has_closer)
                pthread_join(table->closer, NULL);
        for (unsigned i = 0; i < BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i], *next; entry; entry = next) {
                        next = entry->next;
                        zp_device_close(entry->device);
                        free(entry);
                }
        pthread_cond_destroy(&table->changed);
        pthread_cond_destroy(&table->closer_wake);
        pthread_mutex_destroy(&table->lock);
        free(table);
}
