/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/lease-record.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "controller/kube/kube-internal.h"

#define DURATION_MAX_S 3600

char *zp_kube_micro_time(char text[KUBE_MICRO_TIME_SIZE]) {
        struct timespec now;
        struct tm t;
        char seconds[ZP_KUBE_TIME_SIZE];
        clock_gettime(CLOCK_REALTIME, &now);
        strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &t));
        snprintf(text, KUBE_MICRO_TIME_SIZE, "%s.%06dZ", seconds, (int) (now.tv_nsec / 1000 % 1000000));
        return text;
}

void zp_kube_lease_read(json_t *lease, unsigned duration_s, struct zp_kube_lease_record *out) {
        json_t *spec = json_object_get(lease, "spec");
        const char *holder = json_string_value(json_object_get(spec, "holderIdentity"));
        json_int_t duration = json_integer_value(json_object_get(spec, "leaseDurationSeconds"));
        *out = (struct zp_kube_lease_record){
                .duration_s = duration > 0 && duration <= DURATION_MAX_S ? (unsigned) duration : duration_s,
                .transitions = json_integer_value(json_object_get(spec, "leaseTransitions")),
        };
        snprintf(out->holder, sizeof out->holder, "%s", holder ? holder : "");
        if (out->transitions < 0 || out->transitions >= INT32_MAX)
                out->transitions = 0;
}

json_t *zp_kube_lease_make(json_t *lease, const struct zp_kube_lease_record *before, const char *namespace,
                           const char *name, const char *identity, unsigned duration_s) {
        char now[KUBE_MICRO_TIME_SIZE];
        zp_kube_micro_time(now);
        bool is_same = before && strcmp(before->holder, identity) == 0;
        json_t *acquired = is_same ? json_object_get(json_object_get(lease, "spec"), "acquireTime") : NULL;
        int64_t transitions = !before ? 0 : before->transitions + !is_same;
        zp_auto(json_decref) json_t *spec =
                json_pack("{s:s, s:i, s:s, s:I}", "holderIdentity", identity, "leaseDurationSeconds", (int) duration_s,
                          "renewTime", now, "leaseTransitions", (json_int_t) transitions);
        if (!spec || json_object_set_new(spec, "acquireTime", acquired ? json_incref(acquired) : json_string(now)) < 0)
                return NULL;
        zp_auto(json_decref) json_t *metadata = json_pack("{s:s, s:s}", "namespace", namespace, "name", name);
        if (!metadata)
                return NULL;
        if (lease && json_object_set_new(metadata, "resourceVersion", json_string(zp_kube_resource_version(lease))) < 0)
                return NULL;
        return json_pack("{s:s, s:s, s:O, s:O}", "apiVersion", "coordination.k8s.io/v1", "kind", "Lease", "metadata",
                         metadata, "spec", spec);
}
