/* SPDX-License-Identifier: Apache-2.0
 *
 * A policy's inside: what the reader of the file fills and the decision looks at.
 */
#ifndef ZP_TRUST_POLICY_INTERNAL_H
#define ZP_TRUST_POLICY_INTERNAL_H

#include "trust/policy.h"

/* Bounds the work of reading a policy and of a decision; aliases in YAML let a small file say much. */
#define ZP_POLICY_SIZE_MAX 262144
#define ZP_POLICY_KEYS_MAX 256
#define ZP_POLICY_RULES_MAX 1024
#define ZP_POLICY_RULE_KEYS_MAX 32

enum zp_policy_action { ZP_POLICY_ACCEPT, ZP_POLICY_REJECT, ZP_POLICY_REQUIRE };

struct zp_policy_rule {
        char *repository; /* "registry/repository", lower case; of a prefix all up to the last '/'; "" for all */
        size_t line;
        enum zp_policy_action action;
        bool is_prefix;
        size_t key_count, threshold;                  /* of ZP_POLICY_REQUIRE: 1 ≤ threshold ≤ key_count */
        struct zp_key *keys[ZP_POLICY_RULE_KEYS_MAX]; /* the policy's, each once */
};

struct zp_policy_key {
        char *name;
        struct zp_key *key;
};

struct zp_policy {
        char *path; /* for messages */
        size_t key_count, rule_count;
        struct zp_policy_key *keys;
        struct zp_policy_rule *rules;
};

/* How a policy gets at the keys it names. */
struct zp_policy_loader {
        int (*load_key)(void *argument, const char *file, struct zp_key **out, struct zp_error *err);
        void *argument;
};

int zp_policy_parse(const char *text, size_t size, const char *path, const struct zp_policy_loader *loader,
                    struct zp_policy **out, struct zp_error *err);

/* "registry/repository" in the one form that is compared: the host in lower case and without ":443". malloc'ed. */
char *zp_policy_name(const struct zp_reference *image);
/* The rule for that name, or NULL: the exact one, else that of the longest prefix. */
const struct zp_policy_rule *zp_policy_find(const struct zp_policy *policy, const char *name);

#endif
