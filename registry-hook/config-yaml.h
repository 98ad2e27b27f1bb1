/* SPDX-License-Identifier: Apache-2.0
 *
 * The values that a configuration has beyond those of base/yaml.h, and texts that outlive the document.
 */
#ifndef HOOK_CONFIG_YAML_H
#define HOOK_CONFIG_YAML_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/yaml.h"

struct hook_config;
struct hook_yaml {
        struct zp_yaml yaml;
        struct zp_arena *arena; /* where texts are kept */
        struct hook_config *config;
};

/* Each returns 0 or -EINVAL with "path:line: ", -ENOMEM. `what` names the value in messages. */
/* Not empty; kept in the arena. */
int hook_yaml_text(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out);
/* The same for a file's name: a relative one is meant from the configuration's directory. */
int hook_yaml_path(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out);
int hook_yaml_number(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t min, int64_t max,
                     int64_t *out);
/* "512K", "10M", "4G": powers of 1024. */
int hook_yaml_size(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out);
/* "30s", "10m", "1h", "7d"; "0" of whatever. */
int hook_yaml_duration(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out_ms);
int hook_yaml_bool(struct hook_yaml *y, const yaml_node_t *node, const char *what, bool *out);
/* One of `words` (up to a NULL); *out is its position. */
int hook_yaml_word(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const *words, int *out);
/* A list of 1 to `max` entries, or a single value as a list of one. */
int hook_yaml_count(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count);
const yaml_node_t *hook_yaml_item(struct hook_yaml *y, const yaml_node_t *node, size_t i);
int hook_yaml_texts(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, const char *const **out,
                    size_t *count);
#endif
