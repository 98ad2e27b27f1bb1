/* SPDX-License-Identifier: Apache-2.0
 *
 * A policy. Each file it names is a key of its own as long as it is the same file; nothing is opened. What is accepted
 * must not accept an unsigned snapshot where it wants signatures.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "trust/policy-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Public keys are points of a curve, but any 32 bytes pass for one until something is verified. */
static int make_key(void *argument, const char *file, struct zp_key **out, struct zp_error *err) {
        (void) argument;
        char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                     "MCowBQYDK2VwAyEAo1pM123fVrZwQdfcIuGUoNhgAXx0ySRyPTqxfyw7OKI=\n"
                     "-----END PUBLIC KEY-----\n";
        for (size_t i = 0; i < 20 && file[i]; i++)
                pem[27 + 20 + i] = (char) ('A' + (unsigned char) file[i] % 26);
        return zp_key_parse_public(pem, strlen(pem), file, out, err);
}

static void decide(const struct zp_policy *policy, const char *name) {
        struct zp_reference image;
        struct zp_digest digest = { { 1 } };
        struct zp_policy_verdict verdict;
        struct zp_error err = { 0 };
        assert(zp_reference_parse(name, &image, &err) == 0);
        zp_policy_check(policy, &image, &digest, &digest, NULL, 0, &verdict);
        assert(verdict.reason[0] != '\0');
        assert(!verdict.is_accepted || !zp_policy_wants_signatures(policy, &image));
        zp_reference_clear(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct zp_policy_loader loader = { make_key, NULL };
        struct zp_policy *policy = NULL;
        struct zp_error err = { 0 };
        int r = zp_policy_parse((const char *) data, size, "policy.yaml", &loader, &policy, &err);
        assert((r < 0) == (err.message[0] != '\0') && (r == 0) == (policy != NULL));
        if (r < 0)
                return 0;
        static const char *const names[] = { "nginx", "r.example/web", "r.example/prod/x", "localhost:5000/a/b/c" };
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                decide(policy, names[i]);
        /* each rule is the one for its own repository */
        for (size_t i = 0; i < policy->rule_count; i++)
                if (!policy->rules[i].is_prefix)
                        assert(zp_policy_find(policy, policy->rules[i].repository) == &policy->rules[i]);
        zp_policy_free(policy);
        return 0;
}
