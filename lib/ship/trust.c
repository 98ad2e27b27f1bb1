/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/trust.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An image that is in no registry has no repository: only the rule for all fits it. */
static int parse_name(const char *name, struct zp_reference *out, struct zp_error *err) {
        int r = zp_reference_of_name(name, out, err);
        if (r != -ENOTSUP)
                return r;
        if (err)
                zp_error_clear(err);
        *out = (struct zp_reference){ .registry = strdup(""), .repository = strdup("") };
        if (out->registry && out->repository)
                return 0;
        zp_reference_clear(out);
        return zp_error_errno(err, ENOMEM, "policy");
}

static int refuse(struct zp_trust *trust, struct zp_error *err, const char *reason) {
        trust->is_refused = true;
        zp_error_set(err, EACCES, "not trusted: %s", reason);
        return -EACCES;
}

static int check_policy(struct zp_trust *trust, const struct zp_digest *artifact, const struct zp_digest *subject,
                        const struct zp_signature *signatures, size_t count, struct zp_error *err) {
        struct zp_reference image;
        struct zp_policy_verdict verdict;
        int r = parse_name(trust->image, &image, err);
        if (r < 0)
                return r;
        zp_policy_check(trust->policy, &image, artifact, subject, signatures, count, &verdict);
        bool is_decided = !verdict.is_accepted && !zp_policy_wants_signatures(trust->policy, &image);
        zp_reference_clear(&image);
        if (verdict.is_accepted) {
                snprintf(trust->reason, sizeof trust->reason, "%s", verdict.reason);
                return 0;
        }
        refuse(trust, err, verdict.reason);
        zp_error_hint(err, is_decided ? "'zeropull build' makes a snapshot from the image itself"
                                      : "whoever has the key signs it: zeropull push --sign-key FILE IMAGE; or "
                                        "'zeropull build' makes a snapshot from the image itself");
        return -EACCES;
}

static int check_keys(struct zp_trust *trust, const struct zp_digest *artifact, const struct zp_digest *subject,
                      const struct zp_signature *signatures, size_t count, struct zp_error *err) {
        for (size_t k = 0; k < trust->key_count; k++) {
                bool has_signed = false;
                for (size_t i = 0; i < count && !has_signed; i++)
                        has_signed = zp_signature_verify(&signatures[i], artifact, subject, &trust->keys[k], 1, NULL,
                                                         NULL) == 0;
                if (has_signed)
                        continue;
                char reason[256], key[ZP_DIGEST_TEXT_SIZE];
                zp_digest_text(zp_key_id(trust->keys[k]), key);
                if (count == 0)
                        snprintf(reason, sizeof reason, "it is not signed, and must be by key %s", key);
                else
                        snprintf(reason, sizeof reason, "%zu signature%s, none of them a good one by key %s", count,
                                 count == 1 ? "" : "s", key);
                refuse(trust, err, reason);
                zp_error_hint(err, "whoever has the key signs it: zeropull push --sign-key FILE IMAGE");
                return -EACCES;
        }
        if (trust->key_count)
                snprintf(trust->reason, sizeof trust->reason, "signed by %s",
                         trust->key_count == 1 ? "the key given" : "all keys given");
        return 0;
}

int zp_trust_wants_check(struct zp_trust *trust, struct zp_error *err) {
        struct zp_reference image;
        struct zp_digest none = { 0 };
        int r = 0;
        if (trust->policy && (r = parse_name(trust->image, &image, err)) == 0) {
                r = zp_policy_wants_signatures(trust->policy, &image);
                zp_reference_clear(&image);
        }
        if (r != 0)
                return r;
        if (trust->policy && (r = check_policy(trust, &none, &none, NULL, 0, err)) < 0)
                return r;
        return trust->key_count > 0;
}

int zp_trust_check(void *context, const struct zp_descriptor *artifact, const struct zp_digest *subject,
                   struct zp_error *err) {
        struct zp_trust *trust = context;
        zp_autofree struct zp_signature *signatures = NULL;
        size_t count = 0;
        int r = zp_sign_find(trust->remote, &artifact->digest, &signatures, &count, err);
        if (r == 0 && trust->policy)
                r = check_policy(trust, &artifact->digest, subject, signatures, count, err);
        if (r == 0)
                r = check_keys(trust, &artifact->digest, subject, signatures, count, err);
        if (r == 0)
                trust->is_refused = false;
        return r;
}
