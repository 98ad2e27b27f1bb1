/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/rules.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "oci/manifest.h"
#include "base/glob.h"
#include "registry-hook/log.h"

/* Why a rule does not fit; a line for a person. */
struct reason {
        char text[512];
};

static bool no(struct reason *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));
static bool no(struct reason *reason, const char *format, ...) {
        va_list args;
        va_start(args, format);
        vsnprintf(reason->text, sizeof reason->text, format, args);
        va_end(args);
        hook_log_clean(reason->text);
        return false;
}

static const char *matching(const char *const *patterns, size_t count, const char *text) {
        for (size_t i = 0; i < count; i++)
                if (zp_glob(patterns[i], text))
                        return patterns[i];
        return NULL;
}

static bool fits_name(const struct hook_rule *rule, const char *host, const char *repository, const char *tag,
                      struct reason *reason) {
        char name[HOOK_HOST_SIZE + HOOK_REPOSITORY_SIZE];
        const char *pattern;
        snprintf(name, sizeof name, "%s/%s", host, repository);
        if (!matching(rule->repositories, rule->repository_count, name))
                return no(reason, "'%s' is none of its repositories", name);
        if ((pattern = matching(rule->not_repositories, rule->not_repository_count, name)))
                return no(reason, "'%s' is excluded by '%s'", name, pattern);
        if (rule->tag_count > 0 && !tag[0])
                return no(reason, "it wants a tag, and there is none");
        if (rule->tag_count > 0 && !matching(rule->tags, rule->tag_count, tag))
                return no(reason, "tag '%s' is none of its tags", tag);
        if (tag[0] && (pattern = matching(rule->not_tags, rule->not_tag_count, tag)))
                return no(reason, "tag '%s' is excluded by '%s'", tag, pattern);
        return true;
}

/* "linux/arm64" takes every variant, "linux/arm64/v8" that one. */
static bool fits_platform(const struct hook_rule *rule, const char *platform, struct reason *reason) {
        for (size_t i = 0; i < rule->platform_count; i++) {
                size_t size = strlen(rule->platforms[i]);
                if (strncmp(rule->platforms[i], platform, size) == 0 && (!platform[size] || platform[size] == '/'))
                        return true;
        }
        return rule->platform_count == 0 || no(reason, "platform %s is none of its platforms", platform);
}

static const char *member(json_t *object, const char *name) {
        return json_string_value(json_object_get(object, name));
}

static bool fits_labels(const struct hook_rule *rule, const struct hook_facts *facts, struct reason *reason) {
        for (size_t i = 0; i < rule->label_count; i++) {
                const struct hook_condition *c = &rule->labels[i];
                const char *value = member(facts->labels, c->name);
                if (!value || !zp_glob(c->pattern, value))
                        return no(reason, "label %s is %s%.100s, not '%s'", c->name, value ? "" : "absent",
                                  value ? value : "", c->pattern);
        }
        return true;
}

static bool fits_annotations(const struct hook_rule *rule, const struct hook_facts *facts, struct reason *reason) {
        for (size_t i = 0; i < rule->annotation_count; i++) {
                const struct hook_condition *c = &rule->annotations[i];
                const char *own = member(facts->annotations, c->name);
                const char *value = own ? own : member(facts->index_annotations, c->name);
                if (!value || !zp_glob(c->pattern, value))
                        return no(reason, "annotation %s is %s%.100s, not '%s'", c->name, value ? "" : "absent",
                                  value ? value : "", c->pattern);
        }
        return true;
}

static bool fits(const struct hook_rule *rule, const struct hook_facts *facts, struct reason *reason) {
        if (!fits_name(rule, facts->host, facts->repository, facts->tag, reason) ||
            !fits_platform(rule, facts->platform, reason))
                return false;
        if (facts->size < (uint64_t) rule->min_size)
                return no(reason, "%llu bytes are fewer than its min-size", (unsigned long long) facts->size);
        return fits_labels(rule, facts, reason) && fits_annotations(rule, facts, reason);
}

/* No image of that name gets past the rule. */
static bool ends_all(const struct hook_rule *rule) {
        return rule->is_skip && rule->platform_count == 0 && rule->min_size == 0 && rule->label_count == 0 &&
               rule->annotation_count == 0;
}

bool hook_rules_may_build(const struct hook_config *config, const char *host, const char *repository, const char *tag) {
        struct reason reason;
        for (size_t i = 0; i < config->rule_count; i++) {
                const struct hook_rule *rule = &config->rules[i];
                if (!fits_name(rule, host, repository, tag, &reason))
                        continue;
                if (!rule->is_skip)
                        return true;
                if (ends_all(rule))
                        return false;
        }
        return false;
}

bool hook_rules_want_platform(const struct hook_config *config, const char *host, const char *repository,
                              const char *tag, const char *platform) {
        struct reason reason;
        for (size_t i = 0; i < config->rule_count; i++) {
                const struct hook_rule *rule = &config->rules[i];
                if (!rule->is_skip && fits_name(rule, host, repository, tag, &reason) &&
                    fits_platform(rule, platform, &reason))
                        return true;
        }
        return false;
}

static void explain(const struct hook_config *config, const struct hook_rule *rule, const char *text,
                    struct zp_buffer *why) {
        zp_autofree char *line = zp_format("%s:%zu: rule '%s': %s\n", config->path, rule->line, rule->name, text);
        if (line)
                zp_buffer_text(why, line);
}

const struct hook_rule *hook_rules_find(const struct hook_config *config, const struct hook_facts *facts,
                                        struct zp_buffer *why) {
        struct reason reason;
        for (size_t i = 0; i < config->rule_count; i++) {
                const struct hook_rule *rule = &config->rules[i];
                bool is_it = fits(rule, facts, &reason);
                if (why)
                        explain(config, rule, is_it ? (rule->is_skip ? "skips it" : "builds it") : reason.text, why);
                if (is_it)
                        return rule;
        }
        return NULL;
}
