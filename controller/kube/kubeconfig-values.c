/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/kubeconfig-internal.h"

#include <string.h>

#include "base/base64.h"
#include "base/buffer.h"

#define MEMBERS_MAX 256

char *kube_keep(struct zp_kube_files *files, const char *text) {
        return zp_arena_copy(files->arena, text, strlen(text));
}

/* A relative name in a file is meant from the file's directory. */
char *kube_keep_path(struct zp_kube_files *files, const char *name) {
        const char *slash = strrchr(files->path, '/');
        if (name[0] == '/' || !slash)
                return kube_keep(files, name);
        zp_autofree char *path = zp_format("%.*s/%s", (int) (slash - files->path), files->path, name);
        return path ? kube_keep(files, path) : NULL;
}

static bool is_null(const yaml_node_t *node) {
        if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
                return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0;
        const char *text = (const char *) node->data.scalar.value;
        return text[0] == '\0' || strcmp(text, "null") == 0 || strcmp(text, "~") == 0;
}

/* The value of a member; NULL in *out: it is not there, or null, or empty. */
int kube_find(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
              const yaml_node_t **out) {
        size_t count;
        *out = NULL;
        int r = zp_yaml_mapping(yaml, mapping, what, MEMBERS_MAX, &count);
        for (size_t i = 0; i < count && r == 0; i++) {
                yaml_node_t *name, *value;
                zp_yaml_pair(yaml, mapping, i, &name, &value);
                if (name->type != YAML_SCALAR_NODE || strcmp((const char *) name->data.scalar.value, key) != 0)
                        continue;
                *out = is_null(value) ? NULL : value;
                return 0;
        }
        return r;
}

int kube_read_text(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
                   const char **out) {
        const yaml_node_t *node;
        int r = kube_find(yaml, mapping, what, key, &node);
        if (r < 0 || !node)
                return r;
        const char *text;
        r = zp_yaml_text(yaml, node, key, &text);
        if (r == 0 && !(*out = kube_keep(yaml->context, text)))
                r = zp_yaml_no_memory(yaml);
        return r;
}

static int read_data(struct zp_yaml *yaml, const yaml_node_t *node, const char *key, const char *text,
                     const char **out) {
        zp_autofree uint8_t *decoded = NULL;
        size_t size;
        int r = zp_base64_decode(ZP_BASE64_WRAPPED, text, strlen(text), &decoded, &size);
        if (r < 0 || memchr(decoded, '\0', size))
                return r == -ENOMEM ? zp_yaml_no_memory(yaml) : zp_yaml_fail(yaml, node, "%s: not base64", key);
        *out = kube_keep(yaml->context, (const char *) decoded);
        return *out ? 0 : zp_yaml_no_memory(yaml);
}

int kube_read_fields(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what,
                     const struct kube_field *fields, void *out) {
        for (const struct kube_field *field = fields; field->key; field++) {
                const char *text, **member = (const char **) ((char *) out + field->member);
                const yaml_node_t *node;
                int r = kube_find(yaml, mapping, what, field->key, &node);
                if (r < 0 || !node) {
                        if (r < 0)
                                return r;
                        continue;
                }
                r = zp_yaml_text(yaml, node, field->key, &text);
                if (r < 0)
                        return r;
                if (field->kind == KUBE_DATA)
                        r = read_data(yaml, node, field->key, text, member);
                else
                        *member = field->kind == KUBE_TEXT ? kube_keep(yaml->context, text)
                                                           : kube_keep_path(yaml->context, text);
                if (r == 0 && !*member)
                        r = zp_yaml_no_memory(yaml);
                if (r < 0)
                        return r;
        }
        return 0;
}

int kube_read_bool(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key, bool *out) {
        const yaml_node_t *node;
        const char *text;
        int r = kube_find(yaml, mapping, what, key, &node);
        if (r < 0 || !node)
                return r;
        r = zp_yaml_text(yaml, node, key, &text);
        if (r < 0)
                return r;
        *out = strcmp(text, "true") == 0;
        return *out || strcmp(text, "false") == 0 ? 0 : zp_yaml_fail(yaml, node, "%s: neither true nor false", key);
}

int kube_count_items(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        bool is_empty = node && node->type == YAML_SEQUENCE_NODE &&
                        node->data.sequence.items.top == node->data.sequence.items.start;
        return !node || is_empty ? 0 : zp_yaml_list(yaml, node, what, max, count);
}
