/* SPDX-License-Identifier: Apache-2.0
 *
 * A Lease object: what it says, and the next one.
 */
#ifndef KUBE_LEASE_RECORD_H
#define KUBE_LEASE_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define KUBE_HOLDER_MAX 256
#define KUBE_MICRO_TIME_SIZE 48

struct zp_kube_lease_record {
        char holder[KUBE_HOLDER_MAX]; /* "": nobody */
        unsigned duration_s;          /* 1 to 3600 */
        int64_t transitions;
};

/* Reads a Lease from the server. What is missing or out of bounds is as if nobody held it for `duration_s`. */
void zp_kube_lease_read(json_t *lease, unsigned duration_s, struct zp_kube_lease_record *out);

/* The spec by which `identity` ("": nobody) holds it after `before` (NULL: there was none), as a new object with the
 * name; `lease` (NULL: none) is the object it replaces. NULL: out of memory. */
json_t *zp_kube_lease_make(json_t *lease, const struct zp_kube_lease_record *before, const char *namespace,
                           const char *name, const char *identity, unsigned duration_s);

/* Now, as MicroTime: "2026-01-02T03:04:05.000000Z". */
char *zp_kube_micro_time(char text[KUBE_MICRO_TIME_SIZE]);

#endif
