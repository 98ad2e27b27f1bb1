/* SPDX-License-Identifier: Apache-2.0
 *
 * Configuration files in YAML, read so that everything not understood is an error with its line: a setting that
 * silently does not apply would be a trap.
 */
#ifndef ZP_BASE_YAML_H
#define ZP_BASE_YAML_H

#include <stddef.h>
#include <yaml.h>

#include "base/error.h"

/* A document while it is read. Aliases in YAML let a small file say much: lists and mappings are bounded by whoever
 * reads them. */
struct zp_yaml {
        const char *path; /* for messages: "path:line: what" */
        const char *what; /* "policy", "configuration" */
        yaml_document_t *document;
        void *context; /* the caller's */
        struct zp_error *err;
};

/* Loads the one document that `text` must hold, and lets `read` take it in. -EINVAL for what is not YAML, for an empty
 * document, and for a second one. `read` returns 0 or a negative errno. */
int zp_yaml_read(const char *text, size_t size, struct zp_yaml *yaml,
                 int (*read)(struct zp_yaml *yaml, const yaml_node_t *root));

/* -EINVAL with "path:line: " in front, the line being the node's. */
int zp_yaml_fail(const struct zp_yaml *yaml, const yaml_node_t *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
int zp_yaml_no_memory(const struct zp_yaml *yaml);
size_t zp_yaml_line(const yaml_node_t *node);

/* Each: `what` names the setting; -EINVAL when it is something else. */
/* A single value that is not empty; valid as long as the document. */
int zp_yaml_text(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, const char **out);
/* An absolute path; malloc'ed. */
int zp_yaml_path(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, char **out);
/* A whole number from 1 to 999999. */
int zp_yaml_number(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t *out);
/* A list of 1 to `max` entries. */
int zp_yaml_list(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, size_t *count);
yaml_node_t *zp_yaml_entry(const struct zp_yaml *yaml, const yaml_node_t *list, size_t index);
/* A mapping of at most `max` pairs. */
int zp_yaml_mapping(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, size_t *count);
void zp_yaml_pair(const struct zp_yaml *yaml, const yaml_node_t *mapping, size_t index, yaml_node_t **key,
                  yaml_node_t **value);
/* A mapping whose members have fixed names: values[i] is that of names[i], or NULL. */
int zp_yaml_members(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, const char *const *names,
                    size_t name_count, yaml_node_t **values);

#endif
