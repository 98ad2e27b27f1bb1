/* SPDX-License-Identifier: Apache-2.0
 *
 * A configuration's YAML, read strictly: whatever is not understood is an error with file and line.
 */
#ifndef HOOK_CONFIG_YAML_H
#define HOOK_CONFIG_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#include "base/arena.h"
#include "base/error.h"

struct hook_yaml {
        const char *path;       /* for messages */
        struct zp_arena *arena; /* where texts are kept */
        struct zp_error *err;
        yaml_document_t *document;
};

/* Parses the one document of a text and calls `read` with its root. */
int hook_yaml_parse(struct hook_yaml *y, const char *text, size_t size,
                    int (*read)(struct hook_yaml *y, const yaml_node_t *root, void *context), void *context);

/* Each returns 0 or -EINVAL with "path:line: ", -ENOMEM. `what` names the value in messages. */
int hook_yaml_fail(struct hook_yaml *y, const yaml_node_t *node, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
int hook_yaml_no_memory(struct hook_yaml *y);
/* Not empty; kept in the arena. */
int hook_yaml_text(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out);
/* The same for a file's name: a relative one is meant from the configuration's directory. */
int hook_yaml_path(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out);
int hook_yaml_number(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t min, int64_t max,
                     int64_t *out);
/* "512K", "10M", "4G": powers of 1024. */
int hook_yaml_size(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out);
/* "30s", "10m", "1h", "7d". */
int hook_yaml_duration(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out_ms);
int hook_yaml_bool(struct hook_yaml *y, const yaml_node_t *node, const char *what, bool *out);
/* One of `words` (up to a NULL); *out is its position. */
int hook_yaml_word(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const *words, int *out);
/* A list of 1 to `max` entries, or a single value as a list of one. */
int hook_yaml_count(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count);
const yaml_node_t *hook_yaml_item(struct hook_yaml *y, const yaml_node_t *node, size_t i);
int hook_yaml_texts(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, const char *const **out,
                    size_t *count);
/* A mapping with any names. */
int hook_yaml_pairs(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count);
void hook_yaml_pair(struct hook_yaml *y, const yaml_node_t *node, size_t i, const yaml_node_t **name,
                    const yaml_node_t **value);
/* A mapping whose members have fixed names: values[i] is that of names[i] (up to a NULL), or NULL. */
int hook_yaml_members(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const *names,
                      const yaml_node_t **values);
size_t hook_yaml_line(const yaml_node_t *node);

#endif
