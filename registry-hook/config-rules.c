/* SPDX-License-Identifier: Apache-2.0
 *
 * `rules:` of a configuration.
 */
#include <string.h>

#include "base/buffer.h"
#include "oci/manifest.h"
#include "oci/reference.h"
#include "registry-hook/config-internal.h"
#include "registry-hook/queue.h"
#include "registry-hook/target.h"

static int read_conditions(struct hook_yaml *y, const yaml_node_t *node, const char *what,
                           const struct hook_condition **out, size_t *count) {
        int r = zp_yaml_mapping(&y->yaml, node, what, HOOK_PATTERNS_MAX, count);
        struct hook_condition *conditions = r < 0 ? NULL : zp_arena_alloc(y->arena, (*count + 1) * sizeof *conditions);
        if (r == 0 && !conditions)
                return zp_yaml_no_memory(&y->yaml);
        for (size_t i = 0; i < *count && r == 0; i++) {
                yaml_node_t *name, *pattern;
                zp_yaml_pair(&y->yaml, node, i, &name, &pattern);
                r = hook_yaml_text(y, name, what, &conditions[i].name);
                if (r == 0)
                        r = hook_yaml_text(y, pattern, what, &conditions[i].pattern);
        }
        *out = conditions;
        return r;
}

/* Patterns of "host/repository": one that can match nothing was meant otherwise. */
static int read_repositories(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const **out,
                             size_t *count) {
        int r = hook_yaml_texts(y, node, what, HOOK_PATTERNS_MAX, out, count);
        for (size_t i = 0; i < *count && r == 0; i++) {
                const char *pattern = (*out)[i], *slash = strchr(pattern, '/');
                const yaml_node_t *item = hook_yaml_item(y, node, i);
                if (strncmp(pattern, "**", 2) != 0 && !slash)
                        r = zp_yaml_fail(&y->yaml, item, "%s: '%.100s' names no host: write 'HOST/REPOSITORY'", what,
                                         pattern);
                else if (strpbrk(slash ? slash : pattern, ":@ "))
                        r = zp_yaml_fail(&y->yaml, item, "%s: '%.100s': a tag does not belong here", what, pattern);
        }
        return r;
}

static int read_exclude(struct hook_yaml *y, const yaml_node_t *node, struct hook_rule *rule) {
        enum { REPOSITORIES, TAGS, COUNT };
        static const char *const names[] = { "repositories", "tags" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "exclude", names, COUNT, v);
        if (r == 0 && v[REPOSITORIES])
                r = read_repositories(y, v[REPOSITORIES], "exclude: repositories", &rule->not_repositories,
                                      &rule->not_repository_count);
        if (r == 0 && v[TAGS])
                r = hook_yaml_texts(y, v[TAGS], "exclude: tags", HOOK_PATTERNS_MAX, &rule->not_tags,
                                    &rule->not_tag_count);
        return r;
}

static int read_platforms(struct hook_yaml *y, const yaml_node_t *node, struct hook_rule *rule) {
        int r = hook_yaml_texts(y, node, "platforms", HOOK_PATTERNS_MAX, &rule->platforms, &rule->platform_count);
        for (size_t i = 0; i < rule->platform_count && r == 0; i++) {
                struct zp_platform platform;
                struct zp_error reason = { 0 };
                if (zp_platform_parse(rule->platforms[i], &platform, &reason) < 0)
                        r = zp_yaml_fail(&y->yaml, hook_yaml_item(y, node, i), "platforms: %s", reason.message);
        }
        return r;
}

static int read_retention(struct hook_yaml *y, const yaml_node_t *node, struct hook_rule *rule) {
        enum { KEEP, SUPERSEDED, DELETED, DRY_RUN, COUNT };
        static const char *const names[] = { "keep", "superseded", "deleted", "dry-run" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "retention", names, COUNT, v);
        if (r == 0 && v[KEEP])
                r = hook_yaml_number(y, v[KEEP], "keep", 1, 1000000, &rule->keep);
        if (r == 0 && v[SUPERSEDED])
                r = hook_yaml_duration(y, v[SUPERSEDED], "superseded", &rule->superseded_ms);
        if (r == 0 && v[DELETED])
                r = hook_yaml_duration(y, v[DELETED], "deleted", &rule->deleted_ms);
        if (r == 0 && !v[SUPERSEDED] && !v[DELETED])
                r = zp_yaml_fail(&y->yaml, node, "retention: removes nothing without 'superseded' or 'deleted'");
        if (r == 0 && v[DRY_RUN])
                r = hook_yaml_bool(y, v[DRY_RUN], "dry-run", &rule->is_dry_run);
        return r;
}

enum {
        NAME,
        ACTION,
        REPOSITORIES,
        TAGS,
        EXCLUDE,
        LABELS,
        ANNOTATIONS,
        PLATFORMS,
        MIN_SIZE,
        TARGET,
        SIGN_KEY,
        PASSPHRASE_FILE,
        BASE,
        PROFILE,
        PRIORITY,
        RETENTION,
        COUNT
};
static const char *const names[] = {
        "name",   "action",   "repositories",    "tags", "exclude", "labels",   "annotations", "platforms", "min-size",
        "target", "sign-key", "passphrase-file", "base", "profile", "priority", "retention",   NULL
};

/* What says which images. */
static int read_what(struct hook_yaml *y, yaml_node_t *const *v, struct hook_rule *rule) {
        int r = read_repositories(y, v[REPOSITORIES], "repositories", &rule->repositories, &rule->repository_count);
        if (r == 0 && v[TAGS])
                r = hook_yaml_texts(y, v[TAGS], "tags", HOOK_PATTERNS_MAX, &rule->tags, &rule->tag_count);
        if (r == 0 && v[EXCLUDE])
                r = read_exclude(y, v[EXCLUDE], rule);
        if (r == 0 && v[LABELS])
                r = read_conditions(y, v[LABELS], "labels", &rule->labels, &rule->label_count);
        if (r == 0 && v[ANNOTATIONS])
                r = read_conditions(y, v[ANNOTATIONS], "annotations", &rule->annotations, &rule->annotation_count);
        if (r == 0 && v[PLATFORMS])
                r = read_platforms(y, v[PLATFORMS], rule);
        if (r == 0 && v[MIN_SIZE])
                r = hook_yaml_size(y, v[MIN_SIZE], "min-size", &rule->min_size);
        return r;
}

/* A word, or a reference. */
static int read_base(struct hook_yaml *y, const yaml_node_t *node, struct hook_rule *rule) {
        static const char *const words[] = { "previous", "none", "rebuild", NULL };
        struct zp_reference reference;
        struct zp_error reason = { 0 };
        const char *text;
        int r = hook_yaml_text(y, node, "base", &text), word = 0;
        if (r == 0 && !strchr(text, '/')) {
                r = hook_yaml_word(y, node, "base (unless an image, 'HOST/REPOSITORY:TAG')", words, &word);
                rule->base = (enum hook_base) word;
                return r;
        }
        if (r < 0)
                return r;
        if (zp_reference_parse(text, &reference, &reason) < 0)
                return zp_yaml_fail(&y->yaml, node, "base: %s", reason.message);
        zp_reference_clear(&reference);
        rule->base = HOOK_BASE_IMAGE;
        rule->base_image = text;
        return 0;
}

/* What says how they are built. */
static int read_how(struct hook_yaml *y, yaml_node_t *const *v, struct hook_rule *rule) {
        static const char *const profiles[] = { "none", "merged", NULL };
        int r = 0, word = 0;
        int64_t priority = 0;
        if (v[TARGET])
                r = hook_yaml_text(y, v[TARGET], "target", &rule->target);
        if (r == 0 && v[SIGN_KEY])
                r = hook_yaml_path(y, v[SIGN_KEY], "sign-key", &rule->sign_key);
        rule->sign_key_line = v[SIGN_KEY] ? zp_yaml_line(v[SIGN_KEY]) : 0;
        if (r == 0 && v[PASSPHRASE_FILE])
                r = hook_yaml_path(y, v[PASSPHRASE_FILE], "passphrase-file", &rule->passphrase_file);
        if (r == 0 && v[PASSPHRASE_FILE] && !v[SIGN_KEY])
                r = zp_yaml_fail(&y->yaml, v[PASSPHRASE_FILE], "passphrase-file: only beside 'sign-key'");
        if (r == 0 && v[BASE])
                r = read_base(y, v[BASE], rule);
        if (r == 0 && v[PROFILE]) {
                r = hook_yaml_word(y, v[PROFILE], "profile", profiles, &word);
                rule->has_profile = word == 1;
        }
        if (r == 0 && v[PRIORITY])
                r = hook_yaml_number(y, v[PRIORITY], "priority", -1000, 1000, &priority);
        rule->priority = (int) priority;
        if (r == 0 && v[RETENTION])
                r = read_retention(y, v[RETENTION], rule);
        return r;
}

static int check_name(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                      const struct hook_rule *rule) {
        if (strlen(rule->name) >= QUEUE_NAME_SIZE)
                return zp_yaml_fail(&y->yaml, node, "name: longer than %d", QUEUE_NAME_SIZE - 1);
        for (const struct hook_rule *other = config->rules; other < rule; other++)
                if (strcmp(other->name, rule->name) == 0)
                        return zp_yaml_fail(&y->yaml, node, "name: '%.100s' is that of the rule on line %zu",
                                            rule->name, other->line);
        return 0;
}

/* The host of a pattern that names one; malloc'ed; NULL: it may be several. */
static char *host_of(const char *pattern) {
        size_t size = strcspn(pattern, "/");
        return strcspn(pattern, "*?") < size ? NULL : strndup(pattern, size);
}

/* Nothing is built from a host without an entry: a rule for one was meant otherwise. */
static int check_repositories(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                              const struct hook_rule *rule) {
        for (size_t i = 0; i < rule->repository_count; i++) {
                zp_autofree char *host = host_of(rule->repositories[i]);
                if (host && !hook_config_registry(config, host))
                        return zp_yaml_fail(&y->yaml, hook_yaml_item(y, node, i),
                                            "rule '%s': repositories: '%.100s' has no entry in 'registries'",
                                            rule->name, host);
        }
        return 0;
}

/* "docker://HOST/REPOSITORY", "dir:/PATH", "s3://BUCKET/PREFIX". */
static bool is_place(const char *target) {
        struct zp_reference reference;
        if (strncmp(target, "dir:", 4) == 0)
                return target[4] == '/';
        if (strncmp(target, "s3://", 5) == 0)
                return target[5] && target[5] != '/';
        if (zp_reference_of_name(target, &reference, NULL) < 0)
                return false;
        zp_autofree char *whole = zp_format(ZP_REGISTRY_SCHEME "%s/%s", reference.registry, reference.repository);
        zp_reference_clear(&reference);
        return whole && strcmp(whole, target) == 0; /* without a tag, and the host is written out */
}

/* "docker://NAME/…" with a NAME that references take for the first part of a repository; malloc'ed; NULL: no such. */
static char *no_host_of(const char *target) {
        const char *name = target + strlen(ZP_REGISTRY_SCHEME);
        if (strncmp(target, ZP_REGISTRY_SCHEME, strlen(ZP_REGISTRY_SCHEME)) != 0)
                return NULL;
        size_t size = strcspn(name, "/");
        bool is_host = !name[size] || strcspn(name, ".:") < size || strncmp(name, "localhost/", 10) == 0;
        return is_host ? NULL : strndup(name, size);
}

/* What can be told before there is an image; the rest is found when one is to be built. */
static int check_target(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                        const struct hook_rule *rule) {
        zp_autofree char *name = no_host_of(rule->target);
        if (name)
                return zp_yaml_fail(&y->yaml, node,
                                    "rule '%s': target: '%s': '%.100s' is no host, which has a dot or a port",
                                    rule->name, rule->target, name);
        if (!is_place(rule->target))
                return zp_yaml_fail(&y->yaml, node,
                                    "rule '%s': target: '%s' is neither docker://HOST/REPOSITORY nor dir:/PATH nor "
                                    "s3://BUCKET/PREFIX",
                                    rule->name, rule->target);
        for (size_t i = 0; i < rule->repository_count; i++) {
                zp_autofree char *host = host_of(rule->repositories[i]);
                const struct hook_registry *image = host ? hook_config_registry(config, host) : NULL;
                struct zp_error reason = { 0 };
                if (image && hook_target_check(image, hook_target_registry(config, rule->target, image), &reason) < 0)
                        return zp_yaml_fail(&y->yaml, node, "rule '%s': %s", rule->name, reason.message);
        }
        return 0;
}

static int read_rule(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                     struct hook_rule *rule) {
        static const char *const actions[] = { "build", "skip", NULL };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "rule", names, COUNT, v), action = 0;
        if (r < 0)
                return r;
        rule->line = zp_yaml_line(node);
        rule->has_profile = true;
        if (!v[NAME] || !v[REPOSITORIES])
                return zp_yaml_fail(&y->yaml, node, "rule: '%s' is missing", v[NAME] ? "repositories" : "name");
        r = hook_yaml_text(y, v[NAME], "name", &rule->name);
        if (r == 0)
                r = check_name(y, v[NAME], config, rule);
        if (r == 0 && v[ACTION])
                r = hook_yaml_word(y, v[ACTION], "action", actions, &action);
        rule->is_skip = action == 1;
        for (int i = TARGET; i <= RETENTION && r == 0 && rule->is_skip; i++)
                if (v[i])
                        r = zp_yaml_fail(&y->yaml, v[i], "%s: of no use in a rule that skips", names[i]);
        if (r == 0)
                r = read_what(y, v, rule);
        if (r == 0)
                r = read_how(y, v, rule);
        if (r == 0)
                r = check_repositories(y, v[REPOSITORIES], config, rule);
        return r < 0 || !v[TARGET] ? r : check_target(y, v[TARGET], config, rule);
}

int hook_config_read_rules(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config) {
        size_t count;
        int r = hook_yaml_count(y, node, "rules", HOOK_RULES_MAX, &count);
        if (r < 0)
                return r;
        struct hook_rule *rules = zp_arena_alloc(y->arena, count * sizeof *rules);
        if (!rules)
                return zp_yaml_no_memory(&y->yaml);
        config->rules = rules;
        for (size_t i = 0; i < count && r == 0; i++) {
                r = read_rule(y, hook_yaml_item(y, node, i), config, &rules[i]);
                config->rule_count++;
        }
        return r;
}
