/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/event-series.h"

#include <stdlib.h>
#include <string.h>

#define SERIES_MS UINT64_C(360000)
#define TELL_MS 10000u
#define BURST 25u
#define REFILL_MS UINT64_C(300000)

static void free_series(struct zp_kube_series *series) {
        free(series->key);
        free(series->namespace);
        free(series->name);
}

void zp_kube_series_end(struct zp_kube_series_table *table, struct zp_kube_series *series) {
        free_series(series);
        *series = table->series[--table->series_count];
}

struct zp_kube_series *zp_kube_series_repeat(struct zp_kube_series_table *table, const char *key, uint64_t now_ms) {
        for (size_t i = 0; i < table->series_count; i++) {
                struct zp_kube_series *series = &table->series[i];
                if (strcmp(series->key, key) != 0)
                        continue;
                if (now_ms - series->last_ms > SERIES_MS) {
                        zp_kube_series_end(table, series);
                        return NULL;
                }
                series->count++;
                series->last_ms = now_ms;
                series->is_dirty = true;
                return series;
        }
        return NULL;
}

void zp_kube_series_begin(struct zp_kube_series_table *table, const char *key, const char *namespace, const char *name,
                          uint64_t now_ms) {
        struct zp_kube_series *oldest = table->series;
        for (size_t i = 0; i < table->series_count; i++)
                if (table->series[i].last_ms < oldest->last_ms)
                        oldest = &table->series[i];
        if (table->series_count == KUBE_SERIES_MAX)
                zp_kube_series_end(table, oldest);
        struct zp_kube_series *series = &table->series[table->series_count];
        *series = (struct zp_kube_series){ .key = strdup(key),
                                           .namespace = strdup(namespace),
                                           .name = strdup(name),
                                           .count = 1,
                                           .last_ms = now_ms,
                                           .sent_ms = now_ms };
        if (series->key && series->namespace && series->name)
                table->series_count++;
        else
                free_series(series);
}

bool zp_kube_series_is_due(const struct zp_kube_series *series, uint64_t now_ms) {
        return series->is_dirty && (series->count == 2 || now_ms - series->sent_ms >= TELL_MS);
}

static struct zp_kube_bucket *bucket_of(struct zp_kube_series_table *table, const char *uid, uint64_t now_ms) {
        struct zp_kube_bucket *oldest = table->buckets;
        for (size_t i = 0; i < table->bucket_count; i++) {
                if (strcmp(table->buckets[i].uid, uid) == 0)
                        return &table->buckets[i];
                if (table->buckets[i].last_ms < oldest->last_ms)
                        oldest = &table->buckets[i];
        }
        char *copy = strdup(uid);
        if (!copy)
                return NULL;
        if (table->bucket_count < KUBE_SERIES_MAX)
                oldest = &table->buckets[table->bucket_count++];
        else
                free(oldest->uid);
        *oldest = (struct zp_kube_bucket){ .uid = copy, .tokens = BURST, .filled_ms = now_ms };
        return oldest;
}

bool zp_kube_series_allow(struct zp_kube_series_table *table, const char *uid, uint64_t now_ms) {
        struct zp_kube_bucket *bucket = bucket_of(table, uid, now_ms);
        if (!bucket)
                return false;
        uint64_t more = (now_ms - bucket->filled_ms) / REFILL_MS;
        bucket->filled_ms += more * REFILL_MS;
        bucket->tokens = bucket->tokens + more > BURST ? BURST : bucket->tokens + (unsigned) more;
        bucket->last_ms = now_ms;
        if (bucket->tokens == 0)
                return false;
        bucket->tokens--;
        return true;
}

void zp_kube_series_clear(struct zp_kube_series_table *table) {
        while (table->series_count > 0)
                zp_kube_series_end(table, table->series);
        for (size_t i = 0; i < table->bucket_count; i++)
                free(table->buckets[i].uid);
        table->bucket_count = 0;
}
