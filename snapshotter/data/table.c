/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices by number. The entry of one that was open stays: it is small, and the kernel asks for sizes again. The device
 * in it is open only while it is used.
 */
#include <signal.h>
#include <stdlib.h>

#include "base/condition.h"
#include "snapshotter/data/table-internal.h"

#define DEFAULT_IDLE_MS 30000
/* That many devices can hang as they are opened before others have to wait. */
#define OPENERS 16
/* And so many as they are closed: they take memory meanwhile, but nobody waits for them. */
#define CLOSERS 8

static struct snap_entry *find(struct snap_table *table, uint64_t id) {
        struct snap_entry *entry = table->buckets[id % SNAP_TABLE_BUCKETS];
        while (entry && entry->id != id)
                entry = entry->next;
        return entry;
}

static struct snap_entry *add(struct snap_table *table, uint64_t id) {
        struct snap_entry *entry = calloc(1, sizeof *entry);
        if (!entry)
                return NULL;
        entry->table = table;
        entry->id = id;
        entry->next = table->buckets[id % SNAP_TABLE_BUCKETS];
        table->buckets[id % SNAP_TABLE_BUCKETS] = entry;
        return entry;
}

/* The entry for that number and digest. Lock held. */
static int find_entry(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_entry **out,
                      struct zp_error *err) {
        struct snap_entry *entry = find(table, id);
        if (!entry)
                entry = add(table, id);
        if (!entry)
                return zp_error_errno(err, ENOMEM, "device");
        if (digest && entry->has_digest && !zp_digest_equal(digest, &entry->digest))
                return zp_error_set(err, EEXIST, "device %016llx…: another device in use begins so",
                                    (unsigned long long) id);
        if (digest && !entry->has_digest) {
                entry->digest = *digest;
                entry->has_digest = true;
        }
        *out = entry;
        return 0;
}

void snap_table_want(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_wait *wait) {
        struct zp_error err = { 0 };
        struct snap_entry *entry = NULL;
        pthread_mutex_lock(&table->lock);
        int r = find_entry(table, id, digest, &entry, &err);
        bool must_wait = r == 0 && (entry->is_changing || !entry->device);
        wait->began_ms = zp_monotonic_ms();
        if (r == 0 && !must_wait) {
                entry->users++;
                entry->used_ms = wait->began_ms;
        }
        if (must_wait) {
                snap_entry_wait(entry, wait);
                if (!entry->is_changing)
                        snap_entry_begin_open(entry);
        }
        pthread_mutex_unlock(&table->lock);
        if (!must_wait)
                wait->done(wait, r < 0 ? NULL : entry, r, &err);
}

/* ---- waiting in the caller's thread ---- */

struct patient {
        struct snap_wait wait; /* first: what is told back */
        pthread_mutex_t lock;
        pthread_cond_t told;
        bool is_told;
        struct snap_entry *entry;
        int result;
        struct zp_error *err;
};

static void tell_patient(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *err) {
        struct patient *patient = (struct patient *) wait;
        pthread_mutex_lock(&patient->lock);
        patient->entry = entry;
        patient->result = result;
        if (result < 0 && patient->err)
                *patient->err = *err;
        patient->is_told = true;
        pthread_cond_signal(&patient->told);
        pthread_mutex_unlock(&patient->lock);
}

int snap_table_get(struct snap_table *table, uint64_t id, const struct zp_digest *digest, struct snap_entry **out,
                   struct zp_error *err) {
        struct patient patient = { .wait.done = tell_patient, .err = err };
        pthread_mutex_init(&patient.lock, NULL);
        pthread_cond_init(&patient.told, NULL);
        snap_table_want(table, id, digest, &patient.wait);
        pthread_mutex_lock(&patient.lock);
        while (!patient.is_told)
                pthread_cond_wait(&patient.told, &patient.lock);
        pthread_mutex_unlock(&patient.lock);
        pthread_mutex_destroy(&patient.lock);
        pthread_cond_destroy(&patient.told);
        *out = patient.entry;
        return patient.result;
}

/* ---- in use ---- */

void snap_table_let_go(struct snap_entry *entry) {
        struct snap_table *table = entry->table;
        pthread_mutex_lock(&table->lock);
        entry->users--;
        entry->used_ms = zp_monotonic_ms();
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

/* ---- the table ---- */

static int start(pthread_t *thread, void *(*run)(void *), struct snap_table *table, bool *has) {
        int code = pthread_create(thread, NULL, run, table);
        *has = code == 0;
        return code;
}

static int start_threads(struct snap_table *table, struct zp_error *err) {
        sigset_t all, before;
        int r = zp_pool_new(OPENERS, &table->openers, err);
        if (r == 0)
                r = zp_pool_new(CLOSERS, &table->closers, err);
        if (r < 0)
                return r;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int code = start(&table->closer, snap_table_close_in_time, table, &table->has_closer);
        if (code == 0)
                code = start(&table->timekeeper, snap_table_keep_time, table, &table->has_timekeeper);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return code ? zp_error_errno(err, code, "start a thread") : 0;
}

int snap_table_new(struct snap_data *data, struct snap_table **out, struct zp_error *err) {
        struct snap_table *table = calloc(1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "devices");
        table->data = data;
        table->idle_ms = data->options->idle_ms ? data->options->idle_ms : DEFAULT_IDLE_MS;
        table->deadline_ms =
                data->options->device.deadline_ms ? data->options->device.deadline_ms : ZP_DEVICE_DEADLINE_MS;
        pthread_mutex_init(&table->lock, NULL);
        zp_condition_init(&table->closer_wake);
        zp_condition_init(&table->waits_wake);
        *out = table;
        return start_threads(table, err);
}

static void free_entry(struct snap_entry *entry) {
        zp_device_close(entry->device);
        snap_remote_clear(&entry->remote);
        free(entry->why);
        free(entry);
}

void snap_table_free(struct snap_table *table) {
        if (!table)
                return;
        pthread_mutex_lock(&table->lock);
        table->is_ending = true;
        pthread_cond_broadcast(&table->closer_wake);
        pthread_cond_broadcast(&table->waits_wake);
        pthread_mutex_unlock(&table->lock);
        if (table->has_closer)
                pthread_join(table->closer, NULL);
        if (table->has_timekeeper)
                pthread_join(table->timekeeper, NULL);
        zp_pool_free(table->closers); /* whoever waits for one to be closed has it opened then */
        zp_pool_free(table->openers);
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                for (struct snap_entry *entry = table->buckets[i], *next; entry; entry = next) {
                        next = entry->next;
                        free_entry(entry);
                }
        pthread_cond_destroy(&table->closer_wake);
        pthread_cond_destroy(&table->waits_wake);
        pthread_mutex_destroy(&table->lock);
        free(table);
}
