/* SPDX-License-Identifier: Apache-2.0
 *
 * A policy's YAML. Everything that is not understood is an error with its line: a rule that silently does not apply
 * would be a hole.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/buffer.h"
#include "trust/policy-internal.h"

struct reading {
        yaml_document_t *document;
        struct zp_policy *policy;
        const struct zp_policy_loader *loader;
        struct zp_error *err;
};

static int fail_at(struct reading *r, const yaml_node_t *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

static int fail_at(struct reading *r, const yaml_node_t *node, const char *format, ...) {
        char message[ZP_ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        return zp_error_set(r->err, EINVAL, "%s:%zu: %s", r->policy->path, node->start_mark.line + 1, message);
}

static int no_memory(struct reading *r) {
        return zp_error_errno(r->err, ENOMEM, "policy '%s'", r->policy->path);
}

/* ---- YAML nodes ---- */

static yaml_node_t *node_at(struct reading *r, int index) {
        return yaml_document_get_node(r->document, index);
}

static const char *text_of(const yaml_node_t *node) {
        return (const char *) node->data.scalar.value;
}

static int want_text(struct reading *r, const yaml_node_t *node, const char *what, const char **out) {
        if (node->type != YAML_SCALAR_NODE)
                return fail_at(r, node, "%s: not a single value", what);
        *out = text_of(node);
        if (node->data.scalar.length == 0 || strlen(*out) != node->data.scalar.length)
                return fail_at(r, node, "%s: empty, or with a NUL in it", what);
        return 0;
}

static int want_number(struct reading *r, const yaml_node_t *node, const char *what, size_t *out) {
        const char *text;
        int result = want_text(r, node, what, &text);
        if (result < 0)
                return result;
        if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 6 || text[0] == '0')
                return fail_at(r, node, "%s: '%.40s' is not a number from 1 on", what, text);
        *out = strtoul(text, NULL, 10);
        return 0;
}

/* A list of 1 to `max` entries. */
static int want_list(struct reading *r, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        if (node->type != YAML_SEQUENCE_NODE)
                return fail_at(r, node, "%s: not a list", what);
        *count = (size_t) (node->data.sequence.items.top - node->data.sequence.items.start);
        if (*count == 0)
                return fail_at(r, node, "%s: empty", what);
        return *count <= max ? 0 : fail_at(r, node, "%s: more than %zu", what, max);
}

static int want_mapping(struct reading *r, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        if (node->type != YAML_MAPPING_NODE)
                return fail_at(r, node, "%s: not a mapping ('name: value')", what);
        *count = (size_t) (node->data.mapping.pairs.top - node->data.mapping.pairs.start);
        return *count <= max ? 0 : fail_at(r, node, "%s: more than %zu", what, max);
}

/* A mapping whose members have fixed names: values[i] is that of names[i], or NULL. */
static int want_members(struct reading *r, const yaml_node_t *node, const char *what, const char *const *names,
                        size_t name_count, yaml_node_t **values) {
        size_t count;
        int result = want_mapping(r, node, what, 64, &count);
        memset(values, 0, name_count * sizeof *values);
        for (size_t i = 0; i < count && result == 0; i++) {
                const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
                const yaml_node_t *key = node_at(r, pair->key);
                const char *name;
                result = want_text(r, key, what, &name);
                if (result < 0)
                        break;
                size_t at = 0;
                while (at < name_count && strcmp(names[at], name) != 0)
                        at++;
                if (at == name_count)
                        result = fail_at(r, key, "%s: '%.40s' is not known", what, name);
                else if (values[at])
                        result = fail_at(r, key, "%s: '%s' a second time", what, name);
                else
                        values[at] = node_at(r, pair->value);
        }
        return result;
}

/* ---- keys ---- */

static struct zp_key *find_key(const struct zp_policy *policy, const char *name) {
        for (size_t i = 0; i < policy->key_count; i++)
                if (strcmp(policy->keys[i].name, name) == 0)
                        return policy->keys[i].key;
        return NULL;
}

static int read_key(struct reading *r, const yaml_node_t *name_node, const yaml_node_t *file_node) {
        const char *name, *file;
        int result = want_text(r, name_node, "keys: name", &name);
        if (result == 0)
                result = want_text(r, file_node, "keys: file", &file);
        if (result < 0)
                return result;
        if (find_key(r->policy, name))
                return fail_at(r, name_node, "keys: '%.100s' a second time", name);
        struct zp_policy_key key = { .name = strdup(name) };
        if (!key.name)
                return no_memory(r);
        result = r->loader->load_key(r->loader->argument, file, &key.key, r->err);
        if (result < 0) {
                free(key.name);
                zp_error_wrap(r->err, "%s:%zu", r->policy->path, file_node->start_mark.line + 1);
                if (r->err && result != -ENOMEM)
                        r->err->code = EINVAL; /* a key that is not there makes a bad policy, not an absent one */
                return result == -ENOMEM ? result : -EINVAL;
        }
        r->policy->keys[r->policy->key_count++] = key;
        return 0;
}

static int read_keys(struct reading *r, const yaml_node_t *node) {
        size_t count;
        int result = want_mapping(r, node, "keys", ZP_POLICY_KEYS_MAX, &count);
        if (result < 0)
                return result;
        r->policy->keys = calloc(count + 1, sizeof *r->policy->keys);
        if (!r->policy->keys)
                return no_memory(r);
        for (size_t i = 0; i < count && result == 0; i++) {
                const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
                result = read_key(r, node_at(r, pair->key), node_at(r, pair->value));
        }
        return result;
}

/* ---- rules ---- */

/* A pattern as it is compared: '*' at its end is dropped and leaves a prefix. It must be written
 * in full: what normalisation would change ("nginx", a tag) never matched what its author meant. */
static int read_pattern(struct reading *r, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *pattern;
        int result = want_text(r, node, "repository", &pattern);
        if (result < 0)
                return result;
        size_t size = strlen(pattern);
        rule->is_prefix = strcmp(pattern, "*") == 0 || (size > 2 && strcmp(pattern + size - 2, "/*") == 0);
        if (rule->is_prefix)
                size--;
        if (size == 0)
                return (rule->repository = strdup("")) ? 0 : no_memory(r);
        /* any repository of that prefix; two more components, because docker.io/x is docker.io/library/x */
        const char *probe = !rule->is_prefix ? "" : strchr(pattern, '/') == pattern + size - 1 ? "x/x" : "x";
        zp_autofree char *text = zp_format("%.*s%s", (int) size, pattern, probe), *full = NULL;
        struct zp_reference reference;
        if (!text)
                return no_memory(r);
        struct zp_error reason = { 0 };
        if (zp_reference_parse(text, &reference, &reason) < 0)
                return fail_at(r, node, "repository '%.200s': %s", pattern, reason.message);
        full = zp_format("%s/%s", reference.registry, reference.repository);
        rule->repository = zp_policy_name(&reference);
        zp_reference_clear(&reference);
        if (!full || !rule->repository)
                return no_memory(r);
        if (strcmp(full, text) != 0)
                return fail_at(r, node, "repository '%.200s': write it as '%.*s%s'", pattern,
                               (int) (strlen(full) - strlen(probe)), full, rule->is_prefix ? "*" : "");
        rule->repository[strlen(rule->repository) - strlen(probe)] = '\0';
        return 0;
}

static int check_unique(struct reading *r, const yaml_node_t *node, const struct zp_policy_rule *rule) {
        for (size_t i = 0; i < r->policy->rule_count; i++) {
                const struct zp_policy_rule *other = &r->policy->rules[i];
                if (other != rule && other->is_prefix == rule->is_prefix &&
                    strcmp(other->repository, rule->repository) == 0)
                        return fail_at(r, node, "repository '%.200s': has a rule on line %zu already", text_of(node),
                                       other->line);
        }
        return 0;
}

static int add_required(struct reading *r, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *name;
        int result = want_text(r, node, "require", &name);
        if (result < 0)
                return result;
        struct zp_key *key = find_key(r->policy, name);
        if (!key)
                return fail_at(r, node, "require: no key '%.100s' under 'keys'", name);
        for (size_t i = 0; i < rule->key_count; i++)
                if (zp_digest_equal(zp_key_id(rule->keys[i]), zp_key_id(key)))
                        return fail_at(r, node, "require: '%.100s' is a key that is in the list already", name);
        rule->keys[rule->key_count++] = key;
        return 0;
}

static int read_require(struct reading *r, const yaml_node_t *node, const yaml_node_t *threshold,
                        struct zp_policy_rule *rule) {
        size_t count;
        int result = want_list(r, node, "require", ZP_POLICY_RULE_KEYS_MAX, &count);
        for (size_t i = 0; i < count && result == 0; i++)
                result = add_required(r, node_at(r, node->data.sequence.items.start[i]), rule);
        rule->action = ZP_POLICY_REQUIRE;
        rule->threshold = 1;
        if (result == 0 && threshold)
                result = want_number(r, threshold, "threshold", &rule->threshold);
        if (result == 0 && rule->threshold > rule->key_count)
                result =
                        fail_at(r, threshold, "threshold: %zu of %zu keys cannot be", rule->threshold, rule->key_count);
        return result;
}

static int read_action(struct reading *r, const yaml_node_t *node, struct zp_policy_rule *rule) {
        const char *text;
        int result = want_text(r, node, "action", &text);
        if (result < 0)
                return result;
        if (strcmp(text, "accept") != 0 && strcmp(text, "reject") != 0)
                return fail_at(r, node, "action: '%.40s' is neither 'accept' nor 'reject'", text);
        rule->action = strcmp(text, "accept") == 0 ? ZP_POLICY_ACCEPT : ZP_POLICY_REJECT;
        return 0;
}

static int read_rule(struct reading *r, const yaml_node_t *node, struct zp_policy_rule *rule) {
        enum { REPOSITORY, REQUIRE, THRESHOLD, ACTION, COUNT };
        static const char *const names[] = { "repository", "require", "threshold", "action" };
        yaml_node_t *values[COUNT];
        int result = want_members(r, node, "rule", names, COUNT, values);
        if (result < 0)
                return result;
        rule->line = node->start_mark.line + 1;
        if (!values[REPOSITORY])
                return fail_at(r, node, "rule: 'repository' is missing");
        if (!values[REQUIRE] == !values[ACTION])
                return fail_at(r, node, "rule: wants either 'require' or 'action'");
        if (values[THRESHOLD] && !values[REQUIRE])
                return fail_at(r, values[THRESHOLD], "threshold: only beside 'require'");
        result = read_pattern(r, values[REPOSITORY], rule);
        if (result == 0)
                result = check_unique(r, values[REPOSITORY], rule);
        if (result < 0)
                return result;
        return values[ACTION] ? read_action(r, values[ACTION], rule)
                              : read_require(r, values[REQUIRE], values[THRESHOLD], rule);
}

static int read_rules(struct reading *r, const yaml_node_t *node) {
        size_t count;
        int result = want_list(r, node, "rules", ZP_POLICY_RULES_MAX, &count);
        if (result < 0)
                return result;
        r->policy->rules = calloc(count, sizeof *r->policy->rules);
        if (!r->policy->rules)
                return no_memory(r);
        for (size_t i = 0; i < count && result == 0; i++) {
                r->policy->rule_count++;
                result = read_rule(r, node_at(r, node->data.sequence.items.start[i]), &r->policy->rules[i]);
        }
        return result;
}

/* ---- the document ---- */

static int read_document(struct reading *r, const yaml_node_t *root) {
        enum { VERSION, KEYS, RULES, COUNT };
        static const char *const names[] = { "version", "keys", "rules" };
        yaml_node_t *values[COUNT];
        size_t version;
        int result = want_members(r, root, "policy", names, COUNT, values);
        if (result < 0)
                return result;
        if (!values[VERSION] || !values[RULES])
                return fail_at(r, root, "policy: '%s' is missing", values[VERSION] ? "rules" : "version");
        result = want_number(r, values[VERSION], "version", &version);
        if (result == 0 && version != 1)
                result = fail_at(r, values[VERSION], "version: only 1 is known");
        if (result == 0 && values[KEYS])
                result = read_keys(r, values[KEYS]);
        return result < 0 ? result : read_rules(r, values[RULES]);
}

static size_t line_at(const char *text, size_t size, size_t offset) {
        size_t line = 1;
        for (size_t i = 0; i < size && i < offset; i++)
                line += text[i] == '\n';
        return line;
}

static int syntax_error(const yaml_parser_t *parser, const char *text, size_t size, const char *path,
                        struct zp_error *err) {
        if (parser->error == YAML_MEMORY_ERROR)
                return zp_error_errno(err, ENOMEM, "policy '%s'", path);
        size_t line = parser->error == YAML_READER_ERROR ? line_at(text, size, parser->problem_offset)
                                                         : parser->problem_mark.line + 1;
        zp_error_set(err, EINVAL, "%s:%zu: %s%s%s", path, line, parser->context ? parser->context : "",
                     parser->context ? ": " : "", parser->problem ? parser->problem : "not YAML");
        if (parser->context && strcmp(parser->context, "while scanning an alias") == 0)
                zp_error_hint(err, "YAML wants quotes around what begins with '*'");
        return -EINVAL;
}

/* Loads the next document, reads it; the first must be there, a second must not. */
static int read_stream(struct reading *r, yaml_parser_t *parser, const char *text, size_t size) {
        for (int number = 0;; number++) {
                yaml_document_t document;
                if (!yaml_parser_load(parser, &document))
                        return syntax_error(parser, text, size, r->policy->path, r->err);
                const yaml_node_t *root = yaml_document_get_root_node(&document);
                int result = 0;
                r->document = &document;
                if (!root && number == 0)
                        result = zp_error_set(r->err, EINVAL, "%s:1: the policy is empty", r->policy->path);
                else if (root)
                        result = number == 0 ? read_document(r, root) : fail_at(r, root, "a second document");
                yaml_document_delete(&document);
                if (result < 0 || !root)
                        return result;
        }
}

int zp_policy_parse(const char *text, size_t size, const char *path, const struct zp_policy_loader *loader,
                    struct zp_policy **out, struct zp_error *err) {
        zp_auto(zp_policy_free) struct zp_policy *policy = calloc(1, sizeof *policy);
        yaml_parser_t parser;
        if (!policy || !(policy->path = strdup(path)) || !yaml_parser_initialize(&parser))
                return zp_error_errno(err, ENOMEM, "policy '%s'", path);
        struct reading r = { .policy = policy, .loader = loader, .err = err };
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, size);
        int result = read_stream(&r, &parser, text, size);
        yaml_parser_delete(&parser);
        if (result == 0)
                *out = zp_steal(&policy);
        return result;
}
