/* SPDX-License-Identifier: Apache-2.0
 *
 * A policy's YAML. Everything that is not understood is an error with its line: a rule that silently does not apply
 * would be a hole.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/yaml.h"
#include "trust/policy-internal.h"

struct reading {
        struct zp_policy *policy;
        const struct zp_policy_loader *loader;
};

static struct zp_policy *policy_of(const struct zp_yaml *yaml) {
        return ((struct reading *) yaml->context)->policy;
}

/* ---- keys ---- */

static struct zp_key *find_key(const struct zp_policy *policy, const char *name) {
        for (size_t i = 0; i < policy->key_count; i++)
                if (strcmp(policy->keys[i].name, name) == 0)
                        return policy->keys[i].key;
        return NULL;
}

static int read_key(struct zp_yaml *y, const yaml_node_t *name_node, const yaml_node_t *file_node) {
        const char *name, *file;
        int result = zp_yaml_text(y, name_node, "keys: name", &name);
        if (result == 0)
                result = zp_yaml_text(y, file_node, "keys: file", &file);
        if (result < 0)
                return result;
        if (find_key(policy_of(y), name))
                return zp_yaml_fail(y, name_node, "keys: '%.100s' a second time", name);
        struct zp_policy_key key = { .name = strdup(name) };
        if (!key.name)
                return zp_yaml_no_memory(y);
        const struct zp_policy_loader *loader = ((struct reading *) y->context)->loader;
        result = loader->load_key(loader->argument, file, &key.key, y->err);
        if (result < 0) {
                free(key.name);
                zp_error_wrap(y->err, "%s:%zu", policy_of(y)->path, zp_yaml_line(file_node));
                if (y->err && result != -ENOMEM)
                        y->err->code = EINVAL; /* a key that is not there makes a bad policy, not an absent one */
                return result == -ENOMEM ? result : -EINVAL;
        }
        policy_of(y)->keys[policy_of(y)->key_count++] = key;
        return 0;
}

static int read_keys(struct zp_yaml *y, const yaml_node_t *node) {
        size_t count;
        int result = zp_yaml_mapping(y, node, "keys", ZP_POLICY_KEYS_MAX, &count);
        if (result < 0)
                return result;
        policy_of(y)->keys = calloc(count + 1, sizeof *policy_of(y)->keys);
        if (!policy_of(y)->keys)
                return zp_yaml_no_memory(y);
        for (size_t i = 0; i < count && result == 0; i++) {
                yaml_node_t *name, *file;
                zp_yaml_pair(y, node, i, &name, &file);
                result = read_key(y, name, file);
        }
        return result;
}

/* ---- rules ---- */

/* A pattern as it is compared: '*' at its end is dropped and leaves a prefix. It must be written
 * in full: what normalisation would change ("nginx", a tag) never matched what its author meant. */
static int read_pattern(struct zp_yaml *y, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *pattern;
        int result = zp_yaml_text(y, node, "repository", &pattern);
        if (result < 0)
                return result;
        size_t size = strlen(pattern);
        rule->is_prefix = strcmp(pattern, "*") == 0 || (size > 2 && strcmp(pattern + size - 2, "/*") == 0);
        if (rule->is_prefix)
                size--;
        if (size == 0)
                return (rule->repository = strdup("")) ? 0 : zp_yaml_no_memory(y);
        /* any repository of that prefix; two more components, because docker.io/x is docker.io/library/x */
        const char *probe = !rule->is_prefix ? "" : strchr(pattern, '/') == pattern + size - 1 ? "x/x" : "x";
        zp_autofree char *text = zp_format("%.*s%s", (int) size, pattern, probe), *full = NULL;
        struct zp_reference reference;
        if (!text)
                return zp_yaml_no_memory(y);
        struct zp_error reason = { 0 };
        if (zp_reference_parse(text, &reference, &reason) < 0)
                return zp_yaml_fail(y, node, "repository '%.200s': %s", pattern, reason.message);
        full = zp_format("%s/%s", reference.registry, reference.repository);
        rule->repository = zp_policy_name(&reference);
        zp_reference_clear(&reference);
        if (!full || !rule->repository)
                return zp_yaml_no_memory(y);
        if (strcmp(full, text) != 0)
                return zp_yaml_fail(y, node, "repository '%.200s': write it as '%.*s%s'", pattern,
                                    (int) (strlen(full) - strlen(probe)), full, rule->is_prefix ? "*" : "");
        rule->repository[strlen(rule->repository) - strlen(probe)] = '\0';
        return 0;
}

static int check_unique(struct zp_yaml *y, const yaml_node_t *node, const struct zp_policy_rule *rule) {
        for (size_t i = 0; i < policy_of(y)->rule_count; i++) {
                const struct zp_policy_rule *other = &policy_of(y)->rules[i];
                if (other != rule && other->is_prefix == rule->is_prefix &&
                    strcmp(other->repository, rule->repository) == 0)
                        return zp_yaml_fail(y, node, "repository '%.200s': has a rule on line %zu already",
                                            (const char *) node->data.scalar.value, other->line);
        }
        return 0;
}

static int add_required(struct zp_yaml *y, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *name;
        int result = zp_yaml_text(y, node, "require", &name);
        if (result < 0)
                return result;
        struct zp_key *key = find_key(policy_of(y), name);
        if (!key)
                return zp_yaml_fail(y, node, "require: no key '%.100s' under 'keys'", name);
        for (size_t i = 0; i < rule->key_count; i++)
                if (zp_digest_equal(zp_key_id(rule->keys[i]), zp_key_id(key)))
                        return zp_yaml_fail(y, node, "require: '%.100s' is a key that is in the list already", name);
        rule->keys[rule->key_count++] = key;
        return 0;
}

static int read_require(struct zp_yaml *y, const yaml_node_t *node, const yaml_node_t *threshold,
                        struct zp_policy_rule *rule) {
        size_t count;
        int result = zp_yaml_list(y, node, "require", ZP_POLICY_RULE_KEYS_MAX, &count);
        for (size_t i = 0; i < count && result == 0; i++)
                result = add_required(y, zp_yaml_entry(y, node, i), rule);
        rule->action = ZP_POLICY_REQUIRE;
        rule->threshold = 1;
        if (result == 0 && threshold)
                result = zp_yaml_number(y, threshold, "threshold", &rule->threshold);
        if (result == 0 && rule->threshold > rule->key_count)
                result = zp_yaml_fail(y, threshold, "threshold: %zu of %zu keys cannot be", rule->threshold,
                                      rule->key_count);
        return result;
}

static int read_action(struct zp_yaml *y, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *text;
        int result = zp_yaml_text(y, node, "action", &text);
        if (result < 0)
                return result;
        if (strcmp(text, "accept") != 0 && strcmp(text, "reject") != 0)
                return zp_yaml_fail(y, node, "action: '%.40s' is neither 'accept' nor 'reject'", text);
        rule->action = strcmp(text, "accept") == 0 ? ZP_POLICY_ACCEPT : ZP_POLICY_REJECT;
        return 0;
}

static int read_rule(struct zp_yaml *y, const yaml_node_t *node, struct zp_policy_rule *rule) {
        enum { REPOSITORY, REQUIRE, THRESHOLD, ACTION, COUNT };
        static const char *const names[] = { "repository", "require", "threshold", "action" };
        yaml_node_t *values[COUNT];
        int result = zp_yaml_members(y, node, "rule", names, COUNT, values);
        if (result < 0)
                return result;
        rule->line = zp_yaml_line(node);
        if (!values[REPOSITORY])
                return zp_yaml_fail(y, node, "rule: 'repository' is missing");
        if (!values[REQUIRE] == !values[ACTION])
                return zp_yaml_fail(y, node, "rule: wants either 'require' or 'action'");
        if (values[THRESHOLD] && !values[REQUIRE])
                return zp_yaml_fail(y, values[THRESHOLD], "threshold: only beside 'require'");
        result = read_pattern(y, values[REPOSITORY], rule);
        if (result == 0)
                result = check_unique(y, values[REPOSITORY], rule);
        if (result < 0)
                return result;
        return values[ACTION] ? read_action(y, values[ACTION], rule)
                              : read_require(y, values[REQUIRE], values[THRESHOLD], rule);
}

static int read_rules(struct zp_yaml *y, const yaml_node_t *node) {
        size_t count;
        int result = zp_yaml_list(y, node, "rules", ZP_POLICY_RULES_MAX, &count);
        if (result < 0)
                return result;
        policy_of(y)->rules = calloc(count, sizeof *policy_of(y)->rules);
        if (!policy_of(y)->rules)
                return zp_yaml_no_memory(y);
        for (size_t i = 0; i < count && result == 0; i++) {
                policy_of(y)->rule_count++;
                result = read_rule(y, zp_yaml_entry(y, node, i), &policy_of(y)->rules[i]);
        }
        return result;
}

/* ---- the document ---- */

static int read_document(struct zp_yaml *y, const yaml_node_t *root) {
        enum { VERSION, KEYS, RULES, COUNT };
        static const char *const names[] = { "version", "keys", "rules" };
        yaml_node_t *values[COUNT];
        size_t version;
        int result = zp_yaml_members(y, root, "policy", names, COUNT, values);
        if (result < 0)
                return result;
        if (!values[VERSION] || !values[RULES])
                return zp_yaml_fail(y, root, "policy: '%s' is missing", values[VERSION] ? "rules" : "version");
        result = zp_yaml_number(y, values[VERSION], "version", &version);
        if (result == 0 && version != 1)
                result = zp_yaml_fail(y, values[VERSION], "version: only 1 is known");
        if (result == 0 && values[KEYS])
                result = read_keys(y, values[KEYS]);
        return result < 0 ? result : read_rules(y, values[RULES]);
}

int zp_policy_parse(const char *text, size_t size, const char *path, const struct zp_policy_loader *loader,
                    struct zp_policy **out, struct zp_error *err) {
        zp_auto(zp_policy_free) struct zp_policy *policy = calloc(1, sizeof *policy);
        if (!policy || !(policy->path = strdup(path)))
                return zp_error_errno(err, ENOMEM, "policy '%s'", path);
        struct reading reading = { .policy = policy, .loader = loader };
        struct zp_yaml yaml = { .path = path, .what = "policy", .context = &reading, .err = err };
        int result = zp_yaml_read(text, size, &yaml, read_document);
        if (result == 0)
                *out = zp_steal(&policy);
        return result;
}
