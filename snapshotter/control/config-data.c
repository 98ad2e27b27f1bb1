/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/config-data.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"

#define PRELOADS_MAX 16
#define RULES_MAX 256

/* "50G": a number, and a unit of 1024 bytes, 1024², 1024³ or 1024⁴. */
static int read_size(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, uint64_t *out) {
        static const char units[] = "KMGT";
        const char *text;
        if (!node)
                return 0;
        int r = zp_yaml_text(yaml, node, what, &text);
        if (r < 0)
                return r;
        char *end = NULL;
        unsigned long long number = isdigit((unsigned char) text[0]) ? strtoull(text, &end, 10) : 0;
        const char *unit = end && *end ? strchr(units, *end) : NULL;
        uint64_t factor = unit ? UINT64_C(1) << 10 * (unit - units + 1) : 1;
        if (number == 0 || (*end && (!unit || end[1])) || zp_mul_overflows((uint64_t) number, factor, out) ||
            *out > INT64_MAX)
                return zp_yaml_fail(yaml, node, "%s: '%.40s' is not a size like 500M or 50G", what, text);
        return 0;
}

static int read_preloads(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_config_data *config) {
        size_t count;
        if (!node)
                return 0;
        int r = zp_yaml_list(yaml, node, "preloads", PRELOADS_MAX, &count);
        if (r < 0)
                return r;
        config->preloads = calloc(count + 1, sizeof *config->preloads);
        if (!config->preloads)
                return zp_yaml_no_memory(yaml);
        for (size_t i = 0; i < count; i++) {
                const yaml_node_t *entry = zp_yaml_entry(yaml, node, i);
                r = zp_yaml_path(yaml, entry, "preloads", &config->preloads[i]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_completion(struct zp_yaml *yaml, const yaml_node_t *node, enum snap_completion *out) {
        static const char *const names[] = {
                [SNAP_COMPLETE_NEVER] = "never", [SNAP_COMPLETE_STARTED] = "started", [SNAP_COMPLETE_ALWAYS] = "always"
        };
        const char *text;
        int r = zp_yaml_text(yaml, node, "complete", &text);
        if (r < 0)
                return r;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(text, names[i]) == 0) {
                        *out = (enum snap_completion) i;
                        return 0;
                }
        return zp_yaml_fail(yaml, node, "complete: '%.40s' is none of never, started, always", text);
}

/* A repository, or the beginning of some: a '*' stands for what follows it, at the end only. */
static int read_images(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_completion_rule *rule) {
        const char *text;
        int r = zp_yaml_text(yaml, node, "images", &text);
        if (r < 0)
                return r;
        size_t size = strcspn(text, "*");
        rule->is_prefix = text[size] == '*';
        if (rule->is_prefix && text[size + 1])
                return zp_yaml_fail(yaml, node, "images: '%.200s': '*' can only be at the end", text);
        rule->images = strndup(text, size);
        return rule->images ? 0 : zp_yaml_no_memory(yaml);
}

static int read_rule(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_completion_rule *rule) {
        static const char *const names[] = { "images", "complete" };
        yaml_node_t *values[2];
        int r = zp_yaml_members(yaml, node, "complete_images", names, 2, values);
        if (r == 0 && (!values[0] || !values[1]))
                r = zp_yaml_fail(yaml, node, "complete_images: an entry has 'images' and 'complete'");
        if (r == 0)
                r = read_images(yaml, values[0], rule);
        return r < 0 ? r : read_completion(yaml, values[1], &rule->completion);
}

static int read_rules(struct zp_yaml *yaml, const yaml_node_t *node, struct snap_config_data *config) {
        size_t count;
        int r = zp_yaml_list(yaml, node, "complete_images", RULES_MAX, &count);
        if (r < 0)
                return r;
        config->rules = calloc(count, sizeof *config->rules);
        if (!config->rules)
                return zp_yaml_no_memory(yaml);
        for (size_t i = 0; i < count && r == 0; i++) {
                config->rule_count++;
                r = read_rule(yaml, zp_yaml_entry(yaml, node, i), &config->rules[i]);
        }
        return r;
}

int snap_config_read_data(struct zp_yaml *yaml, yaml_node_t *const *values, struct snap_config_data *config) {
        int r = read_preloads(yaml, values[SNAP_PRELOADS], config);
        if (r == 0)
                r = read_size(yaml, values[SNAP_CACHE_LIMIT], "cache_limit", &config->cache_limit);
        if (r == 0)
                r = read_size(yaml, values[SNAP_BACKGROUND_BANDWIDTH], "background_bandwidth",
                              &config->background_bandwidth);
        if (r == 0 && values[SNAP_COMPLETE])
                r = read_completion(yaml, values[SNAP_COMPLETE], &config->completion);
        return r == 0 && values[SNAP_COMPLETE_IMAGES] ? read_rules(yaml, values[SNAP_COMPLETE_IMAGES], config) : r;
}

void snap_config_clear_data(struct snap_config_data *config) {
        for (size_t i = 0; config->preloads && config->preloads[i]; i++)
                free(config->preloads[i]);
        free(config->preloads);
        for (size_t i = 0; i < config->rule_count; i++)
                free(config->rules[i].images);
        free(config->rules);
        *config = (struct snap_config_data){ 0 };
}

enum snap_completion snap_config_completion(const struct snap_config_data *config, const char *images) {
        for (size_t i = 0; images && i < config->rule_count; i++) {
                const struct snap_completion_rule *rule = &config->rules[i];
                if (rule->is_prefix ? strncmp(images, rule->images, strlen(rule->images)) == 0
                                    : strcmp(images, rule->images) == 0)
                        return rule->completion;
        }
        return config->completion;
}
