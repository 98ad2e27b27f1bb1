/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/lease.h"

#include <string.h>

#include "controller/kube/kube-internal.h"
#include "controller/kube/lease-record.h"
#include "controller/kube/thread.h"

#define DURATION_S 15u
#define RENEW_DEADLINE_S 10u
#define RETRY_S 2u
#define FOLLOWER_TIMEOUT_MS 5000u

struct zp_kube_lease {
        struct zp_kube_lease_options options;
        struct zp_cancel cancel; /* set by stop */
        struct zp_kube_bell bell;
        pthread_t thread;
        atomic_ullong held_until_ms; /* by zp_clock_ms; 0: not held */

        /* The thread's own. */
        bool is_leader;   /* `acquired` was called, `lost` not yet */
        json_t *object;   /* as last seen; NULL: there is none */
        char *seen;       /* its spec's text */
        uint64_t seen_ms; /* since when it has not changed */
        char *told;       /* who the notice said has it */
};

static struct zp_kube_place place_of(const struct zp_kube_lease *lease) {
        return (struct zp_kube_place){ .resource = { "coordination.k8s.io/v1", "leases" },
                                       .namespace = lease->options.namespace,
                                       .name = lease->options.name };
}

bool zp_kube_lease_is_held(struct zp_kube_lease *lease) {
        return zp_clock_ms() < atomic_load(&lease->held_until_ms);
}

/* ---- the record ---- */

static void forget(struct zp_kube_lease *lease) {
        if (lease->object)
                json_decref(zp_steal(&lease->object));
        free(zp_steal(&lease->seen));
}

/* Takes the object over, and notes when its record changed. */
static int look(struct zp_kube_lease *lease, json_t *object, uint64_t now_ms, struct zp_error *err) {
        json_t *spec = json_object_get(object, "spec");
        char *text = spec ? json_dumps(spec, JSON_COMPACT | JSON_SORT_KEYS) : strdup("");
        if (!text) {
                json_decref(object);
                return zp_error_errno(err, ENOMEM, "lease");
        }
        if (!lease->seen || strcmp(lease->seen, text) != 0)
                lease->seen_ms = now_ms;
        forget(lease);
        lease->object = object;
        lease->seen = text;
        return 0;
}

static int read_object(struct zp_kube_lease *lease, unsigned timeout_ms, struct zp_error *err) {
        const struct zp_kube_request request = { .place = place_of(lease),
                                                 .cancel = &lease->cancel,
                                                 .timeout_ms = timeout_ms };
        json_t *object = NULL;
        int r = zp_kube_call(lease->options.kube, &request, &object, err);
        if (r == 0)
                return look(lease, object, zp_clock_ms(), err);
        if (r != -ENOENT)
                return r;
        zp_error_clear(err);
        forget(lease);
        return 0;
}

/* Writes that `identity` has it. What the server answers is what we have seen. */
static int write_object(struct zp_kube_lease *lease, const struct zp_kube_lease_record *before, const char *identity,
                        unsigned duration_s, struct zp_kube_request *request, struct zp_error *err) {
        zp_auto(json_decref) json_t *body = zp_kube_lease_make(lease->object, before, lease->options.namespace,
                                                               lease->options.name, identity, duration_s);
        json_t *object = NULL;
        if (!body)
                return zp_error_errno(err, ENOMEM, "lease");
        request->place = place_of(lease);
        request->method = lease->object ? "PUT" : "POST";
        request->body = body;
        request->is_anybodys = true;
        if (!lease->object)
                request->place.name = NULL;
        uint64_t start_ms = zp_clock_ms();
        int r = zp_kube_call(lease->options.kube, request, &object, err);
        return r < 0 ? r : look(lease, object, start_ms, err);
}

/* ---- holding it ---- */

static void tell_holder(struct zp_kube_lease *lease, const char *holder) {
        if (lease->told && strcmp(lease->told, holder) == 0)
                return;
        free(lease->told);
        lease->told = strdup(holder);
        zp_notice_tell(&lease->options.notice, "lease '%s/%s': held by '%s'", lease->options.namespace,
                       lease->options.name, holder);
}

/* Renews it, or takes it when it is free. 1: it is ours, from the time before the request on; 0: it is another's, until
 * *free_ms at the earliest. */
static int try_to_hold(struct zp_kube_lease *lease, unsigned timeout_ms, uint64_t *free_ms, struct zp_error *err) {
        const struct zp_kube_lease_options *options = &lease->options;
        uint64_t latest_ms = zp_clock_ms() + timeout_ms;
        int r = read_object(lease, timeout_ms, err);
        if (r < 0)
                return r;
        struct zp_kube_lease_record record = { 0 };
        if (lease->object)
                zp_kube_lease_read(lease->object, options->duration_s, &record);
        bool is_ours = strcmp(record.holder, options->identity) == 0;
        uint64_t now_ms = zp_clock_ms();
        *free_ms = lease->seen_ms + record.duration_s * UINT64_C(1000);
        if (record.holder[0] && !is_ours && now_ms < *free_ms) {
                tell_holder(lease, record.holder);
                return 0;
        }
        struct zp_kube_request request = { .cancel = &lease->cancel,
                                           .timeout_ms = now_ms < latest_ms ? (unsigned) (latest_ms - now_ms) : 1 };
        r = write_object(lease, lease->object ? &record : NULL, options->identity, options->duration_s, &request, err);
        if (r < 0)
                return r;
        atomic_store(&lease->held_until_ms, now_ms + options->renew_deadline_s * UINT64_C(1000));
        return 1;
}

static void lose(struct zp_kube_lease *lease) {
        atomic_store(&lease->held_until_ms, 0);
        if (!lease->is_leader)
                return;
        lease->is_leader = false;
        lease->options.lost(lease->options.context);
}

/* One turn; returns when the next one is due. */
static uint64_t turn(struct zp_kube_lease *lease) {
        const struct zp_kube_lease_options *options = &lease->options;
        struct zp_error err = { 0 };
        uint64_t start_ms = zp_clock_ms(), until_ms = atomic_load(&lease->held_until_ms), free_ms = 0;
        uint64_t next_ms = start_ms + options->retry_s * 1000;
        unsigned timeout_ms = !lease->is_leader     ? FOLLOWER_TIMEOUT_MS
                              : start_ms < until_ms ? (unsigned) (until_ms - start_ms)
                                                    : 1;
        int r = try_to_hold(lease, timeout_ms, &free_ms, &err);
        if (r < 0 && r != -ECANCELED)
                zp_notice_tell(&options->notice, "lease '%s/%s': %s", options->namespace, options->name, err.message);
        bool is_held = zp_kube_lease_is_held(lease);
        if (r == 1 && is_held && !lease->is_leader) {
                free(zp_steal(&lease->told));
                lease->is_leader = true;
                options->acquired(options->context);
        } else if (lease->is_leader && (r == 0 || !is_held)) {
                lose(lease);
        }
        if (lease->is_leader) { /* wake up at the deadline at the latest */
                until_ms = atomic_load(&lease->held_until_ms);
                return until_ms < next_ms ? until_ms : next_ms;
        }
        return r == 0 && free_ms > zp_clock_ms() && free_ms < next_ms ? free_ms : next_ms;
}

static void *run(void *argument) {
        struct zp_kube_lease *lease = argument;
        while (!zp_cancelled(&lease->cancel))
                zp_kube_bell_wait(&lease->bell, turn(lease));
        return NULL;
}

int zp_kube_lease_start(const struct zp_kube_lease_options *options, struct zp_kube_lease **out, struct zp_error *err) {
        zp_autofree struct zp_kube_lease *lease = calloc(1, sizeof *lease);
        if (!lease)
                return zp_error_errno(err, ENOMEM, "lease");
        lease->options = *options;
        struct zp_kube_lease_options *o = &lease->options;
        o->duration_s = o->duration_s ? o->duration_s : DURATION_S;
        o->renew_deadline_s = o->renew_deadline_s ? o->renew_deadline_s : RENEW_DEADLINE_S;
        o->retry_s = o->retry_s ? o->retry_s : RETRY_S;
        if (o->retry_s >= o->renew_deadline_s || o->renew_deadline_s >= o->duration_s)
                return zp_error_set(err, EINVAL, "lease: retry < renew deadline < duration does not hold");
        if (strlen(o->identity) >= KUBE_HOLDER_MAX || o->identity[0] == '\0')
                return zp_error_set(err, EINVAL, "lease: an identity has 1 to %d bytes", KUBE_HOLDER_MAX - 1);
        zp_kube_bell_init(&lease->bell);
        int r = zp_kube_thread_start(&lease->thread, run, lease, "lease", err);
        if (r < 0) {
                zp_kube_bell_clear(&lease->bell);
                return r;
        }
        *out = zp_steal(&lease);
        return 0;
}

/* Nobody needs to wait until it has run out. */
static void give_back(struct zp_kube_lease *lease) {
        struct zp_kube_lease_record record;
        struct zp_kube_request request = { .is_farewell = true };
        struct zp_error err = { 0 };
        zp_kube_lease_read(lease->object, lease->options.duration_s, &record);
        if (write_object(lease, &record, "", 1, &request, &err) < 0)
                zp_notice_tell(&lease->options.notice, "lease '%s/%s': not given back: %s", lease->options.namespace,
                               lease->options.name, err.message);
}

void zp_kube_lease_stop(struct zp_kube_lease *lease) {
        atomic_store(&lease->cancel.requested, true);
        zp_kube_bell_ring(&lease->bell);
        pthread_join(lease->thread, NULL);
        bool was_held = zp_kube_lease_is_held(lease) && lease->object;
        lose(lease);
        if (was_held)
                give_back(lease);
        zp_kube_bell_clear(&lease->bell);
        forget(lease);
        free(lease->told);
        free(lease);
}
