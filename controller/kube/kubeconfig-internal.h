/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files that read kubeconfigs share: values that may be missing, and that are kept.
 */
#ifndef KUBE_KUBECONFIG_INTERNAL_H
#define KUBE_KUBECONFIG_INTERNAL_H

#include "base/yaml.h"
#include "controller/kube/kube-internal.h"

struct kube_entry;

/* The context of every struct zp_yaml here. */
struct zp_kube_files {
        struct zp_arena *arena;
        const char *path, *current_context;
        struct kube_entry *clusters, *users, *contexts;
};

enum kube_field_kind { KUBE_TEXT, KUBE_FILE, KUBE_DATA };

/* One member of a mapping; a table ends with a NULL key. */
struct kube_field {
        const char *key;
        enum kube_field_kind kind; /* KUBE_DATA: base64 */
        size_t member;             /* offset of a const char * */
};

/* A copy in the arena; NULL: out of memory. A relative path is meant from the directory of the file that is read. */
char *kube_keep(struct zp_kube_files *files, const char *text);
char *kube_keep_path(struct zp_kube_files *files, const char *name);

/* Each: 0, also when the member is not there, or null, or empty: *out is NULL then, or stays. */
int kube_find(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
              const yaml_node_t **out);
int kube_read_text(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
                   const char **out);
int kube_read_bool(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key, bool *out);
/* Into the members of `out` that the table names. */
int kube_read_fields(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what,
                     const struct kube_field *fields, void *out);
/* How many items a list has that may be missing (NULL) or empty. */
int kube_count_items(struct zp_yaml *yaml, const yaml_node_t *list, const char *what, size_t max, size_t *count);

int kube_read_exec(struct zp_yaml *yaml, const yaml_node_t *node, struct zp_kube_exec *exec);

#endif
