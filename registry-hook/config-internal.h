/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of a configuration, each read by a file of its own.
 */
#ifndef HOOK_CONFIG_INTERNAL_H
#define HOOK_CONFIG_INTERNAL_H

#include "registry-hook/config.h"
#include "registry-hook/config-yaml.h"

/* Bound the work of a decision. */
#define HOOK_RULES_MAX 1024
#define HOOK_PATTERNS_MAX 256
#define HOOK_ENTRIES_MAX 256

int hook_config_read_rules(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config);
int hook_config_read_endpoints(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config);
int hook_config_read_registries(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config);
int hook_config_read_tokens(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config);
/* Whether the files of keys, certificates and credentials can be used. */
int hook_config_check_files(const struct hook_config *config, struct zp_error *err);
/* A file's first line, without what ends it; in the arena. */
int hook_config_read_secret(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out);

#endif
