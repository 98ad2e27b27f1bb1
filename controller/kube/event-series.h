/* SPDX-License-Identifier: Apache-2.0
 *
 * Which events have been sent, so that the same again counts and does not fill the server: series, and how many one
 * object may have. One thread.
 */
#ifndef KUBE_EVENT_SERIES_H
#define KUBE_EVENT_SERIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KUBE_SERIES_MAX 1024

struct zp_kube_series {
        char *key;              /* what makes two events the same */
        char *namespace, *name; /* of the event that is there */
        unsigned count;
        bool is_dirty;    /* the server does not know the count yet */
        uint64_t last_ms; /* when it happened last */
        uint64_t sent_ms; /* when the server was told last */
};

struct zp_kube_bucket {
        char *uid;
        unsigned tokens;
        uint64_t filled_ms, last_ms;
};

/* A zeroed one is empty. The least recent ones make room. */
struct zp_kube_series_table {
        struct zp_kube_series series[KUBE_SERIES_MAX];
        struct zp_kube_bucket buckets[KUBE_SERIES_MAX];
        size_t series_count, bucket_count;
};

/* The series of an event that happens now, counted; NULL: it is the first, or the last was more than six minutes ago.
 */
struct zp_kube_series *zp_kube_series_repeat(struct zp_kube_series_table *table, const char *key, uint64_t now_ms);
/* Remembers one that has been sent; without memory it is forgotten. */
void zp_kube_series_begin(struct zp_kube_series_table *table, const char *key, const char *namespace, const char *name,
                          uint64_t now_ms);
void zp_kube_series_end(struct zp_kube_series_table *table, struct zp_kube_series *series);
/* Whether the server should be told now: the second time at once, then every 10 s. */
bool zp_kube_series_is_due(const struct zp_kube_series *series, uint64_t now_ms);
/* Whether this object may have one more: 25 at once, one every five minutes. */
bool zp_kube_series_allow(struct zp_kube_series_table *table, const char *uid, uint64_t now_ms);
void zp_kube_series_clear(struct zp_kube_series_table *table);

#endif
