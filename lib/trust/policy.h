/* SPDX-License-Identifier: Apache-2.0
 *
 * Which signatures a snapshot needs before it is used: a YAML file with rules by repository. Format: docs/trust.md.
 */
#ifndef ZP_TRUST_POLICY_H
#define ZP_TRUST_POLICY_H

#include "oci/reference.h"
#include "trust/signature.h"

#define ZP_POLICY_DEFAULT_PATH "/etc/zeropull/policy.yaml"

/* Nothing changes it once it is loaded: threads may share it. */
struct zp_policy;

/* Loads a policy and the public keys it names. Errors in it are -EINVAL, with "file:line:" in front. */
int zp_policy_load(const char *path, struct zp_policy **out, struct zp_error *err);
/* As zp_policy_load, but a `path` that is not there is a policy that requires nothing; one that is there and cannot be
 * read, a dangling link included, stays an error. */
int zp_policy_load_if_present(const char *path, struct zp_policy **out, struct zp_error *err);
void zp_policy_free(struct zp_policy *policy);
ZP_DEFINE_AUTO(struct zp_policy, zp_policy_free);

/* False when the rule for the image decides without looking at signatures: they need not be fetched. */
bool zp_policy_wants_signatures(const struct zp_policy *policy, const struct zp_reference *image);

struct zp_policy_verdict {
        bool is_accepted;
        char reason[512]; /* one line for a person, with the rule's file and line */
};

/* Decides about a snapshot of `image` (its tag and digest do not matter). Signatures that are false, of something else
 * or by other keys count for nothing and against nothing. */
void zp_policy_check(const struct zp_policy *policy, const struct zp_reference *image, const struct zp_digest *artifact,
                     const struct zp_digest *subject, const struct zp_signature *signatures, size_t count,
                     struct zp_policy_verdict *out);

#endif
