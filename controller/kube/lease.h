/* SPDX-License-Identifier: Apache-2.0
 *
 * One leader among many, by a Lease (coordination.k8s.io/v1). Whether another's lease has run out is judged by how long
 * its record has not changed, by this machine's monotonic clock, never by the times in it.
 *
 * A leader that dies is followed after at most duration + 2 retries (19 s with the defaults), one that stops in order
 * within a retry. A leader that cannot renew stops being one at the renew deadline, before anybody else may begin.
 */
#ifndef KUBE_LEASE_H
#define KUBE_LEASE_H

#include "controller/kube/client.h"

struct zp_kube_lease_options {
        struct zp_kube *kube; /* must outlive the lease, as the strings */
        const char *namespace, *name;
        const char *identity;      /* of this process, unique: pod name + "_" + random */
        unsigned duration_s;       /* 0: 15 */
        unsigned renew_deadline_s; /* 0: 10; less than duration_s */
        unsigned retry_s;          /* 0: 2; less than renew_deadline_s */
        /* On the lease's thread, in turns. Between `acquired` and `lost` this process is the leader; `lost` should end
         * all writing at once and return within duration_s − renew_deadline_s (5 s). */
        void (*acquired)(void *context);
        void (*lost)(void *context);
        /* Something failed and is tried again, or another has it (the text says who): for the log. */
        struct zp_notice notice;
        void *context;
};

struct zp_kube_lease;
/* Starts the thread. */
int zp_kube_lease_start(const struct zp_kube_lease_options *options, struct zp_kube_lease **out, struct zp_error *err);
/* Calls `lost` when it was held, gives the lease back so that another may begin at once (within two seconds, also when
 * all else is cancelled), frees. Call it when all writing has ended. */
void zp_kube_lease_stop(struct zp_kube_lease *lease);
ZP_DEFINE_AUTO(struct zp_kube_lease, zp_kube_lease_stop);

/* Whether this process is the leader at this very moment, by the clock: false once the renew deadline has passed, also
 * while `lost` has not been called yet. Any thread; cheap: ask before each write. */
bool zp_kube_lease_is_held(struct zp_kube_lease *lease);

#endif
