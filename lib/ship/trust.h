/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a snapshot in a remote is signed as a policy and the user want it.
 */
#ifndef ZP_SHIP_TRUST_H
#define ZP_SHIP_TRUST_H

#include "ship/sign.h"
#include "trust/policy.h"

/* What is wanted. The policy's rule for the image's repository and the keys are two conditions: both must hold. */
struct zp_trust {
        struct zp_remote *remote;
        const char *image;              /* its source's name; the rule is that of its repository, not of the remote */
        const struct zp_policy *policy; /* NULL: none */
        struct zp_key *const *keys;     /* each of them must have signed */
        size_t key_count;

        bool is_refused;  /* out: one was not trusted, and none has been since */
        char reason[512]; /* out: why the last one was; "" when nothing was asked for */
};

/* 1: signatures decide; 0: nothing is wanted; -EACCES: the image's rule rejects every snapshot. Asks no remote. */
int zp_trust_wants_check(struct zp_trust *trust, struct zp_error *err);

/* A zp_pull_check, with a struct zp_trust for context. -EACCES: not trusted, with the rule's file and line or the
 * key; anything else means that the signatures could not be read, and is no acceptance either. */
int zp_trust_check(void *context, const struct zp_descriptor *artifact, const struct zp_digest *subject,
                   struct zp_error *err);

#endif
