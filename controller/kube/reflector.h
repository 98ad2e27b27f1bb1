/* SPDX-License-Identifier: Apache-2.0
 *
 * Follows a collection: lists it, watches it from there on, and tells what is new, changed and gone, whatever happens
 * to connections, servers and their history (410). Keeps of each object its key, uid and resourceVersion (about 200
 * bytes) and nothing else: the owner keeps what it needs of the object it is shown.
 *
 * A thread per reflector. Callbacks run on it, one at a time, with no lock of this room held: they may call the client,
 * but whatever takes long delays what follows; put the key in a queue. The owner locks its own data. From json.h:
 * json_incref keeps an object (counted atomically); nobody changes it.
 */
#ifndef KUBE_REFLECTOR_H
#define KUBE_REFLECTOR_H

#include "controller/kube/client.h"

enum zp_kube_change { ZP_KUBE_ADDED, ZP_KUBE_CHANGED, ZP_KUBE_DELETED };

struct zp_kube_key {
        const char *namespace; /* "" for cluster-scoped objects */
        const char *name;
        const char *uid;
};

struct zp_kube_watcher {
        /* What happened to one object. ADDED once per uid, then CHANGED for each new resourceVersion that was seen
         * (several may have become one), then DELETED once. An object that was deleted and made again while nobody
         * looked is DELETED, then ADDED. `object` is borrowed; with DELETED its last state, or NULL when it was found
         * missing. All of `key` is valid during the call only. */
        void (*changed)(void *context, enum zp_kube_change change, const struct zp_kube_key *key, json_t *object);
        /* All that was there at the start has been told: once, the first time. NULL: not wanted. */
        void (*synced)(void *context);
        /* Something failed and is tried again by itself, after `retry_ms`; `failures` in a row so far. One line is
         * enough. NULL: not wanted. */
        void (*troubled)(void *context, const struct zp_error *reason, unsigned failures, unsigned retry_ms);
        void *context;
};

struct zp_kube_reflector_options {
        struct zp_kube *kube;       /* must outlive the reflector, as the strings */
        struct zp_kube_place place; /* name and subresource: NULL */
        const char *query;          /* "fieldSelector=…", "labelSelector=…", escaped; NULL */
        struct zp_kube_watcher watcher;
        const struct zp_cancel *cancel; /* beside the client's; NULL */
};

struct zp_kube_reflector;
/* Starts the thread. */
int zp_kube_reflector_start(const struct zp_kube_reflector_options *options, struct zp_kube_reflector **out,
                            struct zp_error *err);
/* Ends within a second or so, and frees; no callback is under way afterwards. Not from within one. */
void zp_kube_reflector_stop(struct zp_kube_reflector *reflector);
ZP_DEFINE_AUTO(struct zp_kube_reflector, zp_kube_reflector_stop);

/* Any thread. */
struct zp_kube_reflector_statistics {
        uint64_t objects;  /* now known */
        uint64_t lists;    /* started; 1 in steady state */
        uint64_t watches;  /* started; one every 5 to 10 minutes in steady state */
        uint64_t events;   /* received, bookmarks included */
        uint64_t failures; /* that led to a retry */
        bool is_synced;
};
struct zp_kube_reflector_statistics zp_kube_reflector_statistics(struct zp_kube_reflector *reflector);

#endif
