/* SPDX-License-Identifier: Apache-2.0 */
#include "base/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS_MAX 64

int zp_yaml_fail(const struct zp_yaml *yaml, const yaml_node_t *node, const char *format, ...) {
        char message[ZP_ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        return zp_error_set(yaml->err, EINVAL, "%s:%zu: %s", yaml->path, zp_yaml_line(node), message);
}

int zp_yaml_no_memory(const struct zp_yaml *yaml) {
        return zp_error_errno(yaml->err, ENOMEM, "%s '%s'", yaml->what, yaml->path);
}

size_t zp_yaml_line(const yaml_node_t *node) {
        return node->start_mark.line + 1;
}

/* ---- values ---- */

int zp_yaml_text(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, const char **out) {
        if (node->type != YAML_SCALAR_NODE)
                return zp_yaml_fail(yaml, node, "%s: not a single value", what);
        *out = (const char *) node->data.scalar.value;
        if (node->data.scalar.length == 0 || strlen(*out) != node->data.scalar.length)
                return zp_yaml_fail(yaml, node, "%s: empty, or with a NUL in it", what);
        return 0;
}

int zp_yaml_path(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, char **out) {
        const char *text;
        int r = zp_yaml_text(yaml, node, what, &text);
        if (r < 0)
                return r;
        if (text[0] != '/')
                return zp_yaml_fail(yaml, node, "%s: '%.200s' is not an absolute path", what, text);
        *out = strdup(text);
        return *out ? 0 : zp_yaml_no_memory(yaml);
}

int zp_yaml_number(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t *out) {
        const char *text;
        int r = zp_yaml_text(yaml, node, what, &text);
        if (r < 0)
                return r;
        if (strspn(text, "0123456789") != strlen(text) || strlen(text) > 6 || text[0] == '0')
                return zp_yaml_fail(yaml, node, "%s: '%.40s' is not a number from 1 to 999999", what, text);
        *out = strtoul(text, NULL, 10);
        return 0;
}

int zp_yaml_list(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        if (node->type != YAML_SEQUENCE_NODE)
                return zp_yaml_fail(yaml, node, "%s: not a list", what);
        *count = (size_t) (node->data.sequence.items.top - node->data.sequence.items.start);
        if (*count == 0)
                return zp_yaml_fail(yaml, node, "%s: empty", what);
        return *count <= max ? 0 : zp_yaml_fail(yaml, node, "%s: more than %zu", what, max);
}

yaml_node_t *zp_yaml_entry(const struct zp_yaml *yaml, const yaml_node_t *list, size_t index) {
        return yaml_document_get_node(yaml->document, list->data.sequence.items.start[index]);
}

int zp_yaml_mapping(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        if (node->type != YAML_MAPPING_NODE)
                return zp_yaml_fail(yaml, node, "%s: not a mapping ('name: value')", what);
        *count = (size_t) (node->data.mapping.pairs.top - node->data.mapping.pairs.start);
        return *count <= max ? 0 : zp_yaml_fail(yaml, node, "%s: more than %zu", what, max);
}

void zp_yaml_pair(const struct zp_yaml *yaml, const yaml_node_t *mapping, size_t index, yaml_node_t **key,
                  yaml_node_t **value) {
        const yaml_node_pair_t *pair = &mapping->data.mapping.pairs.start[index];
        *key = yaml_document_get_node(yaml->document, pair->key);
        *value = yaml_document_get_node(yaml->document, pair->value);
}

int zp_yaml_members(const struct zp_yaml *yaml, const yaml_node_t *node, const char *what, const char *const *names,
                    size_t name_count, yaml_node_t **values) {
        size_t count;
        int r = zp_yaml_mapping(yaml, node, what, MEMBERS_MAX, &count);
        memset(values, 0, name_count * sizeof *values);
        for (size_t i = 0; i < count && r == 0; i++) {
                yaml_node_t *key, *value;
                const char *name;
                zp_yaml_pair(yaml, node, i, &key, &value);
                r = zp_yaml_text(yaml, key, what, &name);
                if (r < 0)
                        break;
                size_t at = 0;
                while (at < name_count && strcmp(names[at], name) != 0)
                        at++;
                if (at == name_count)
                        r = zp_yaml_fail(yaml, key, "%s: '%.40s' is not known", what, name);
                else if (values[at])
                        r = zp_yaml_fail(yaml, key, "%s: '%s' a second time", what, name);
                else
                        values[at] = value;
        }
        return r;
}

/* ---- the document ---- */

static size_t line_at(const char *text, size_t size, size_t offset) {
        size_t line = 1;
        for (size_t i = 0; i < size && i < offset; i++)
                line += text[i] == '\n';
        return line;
}

static int syntax_error(const struct zp_yaml *yaml, const yaml_parser_t *parser, const char *text, size_t size) {
        if (parser->error == YAML_MEMORY_ERROR)
                return zp_yaml_no_memory(yaml);
        size_t line = parser->error == YAML_READER_ERROR ? line_at(text, size, parser->problem_offset)
                                                         : parser->problem_mark.line + 1;
        zp_error_set(yaml->err, EINVAL, "%s:%zu: %s%s%s", yaml->path, line, parser->context ? parser->context : "",
                     parser->context ? ": " : "", parser->problem ? parser->problem : "not YAML");
        if (parser->context && strcmp(parser->context, "while scanning an alias") == 0)
                zp_error_hint(yaml->err, "YAML wants quotes around what begins with '*'");
        return -EINVAL;
}

/* Loads the next document, reads it; the first must be there, a second must not. */
static int read_stream(struct zp_yaml *yaml, yaml_parser_t *parser, const char *text, size_t size,
                       int (*read)(struct zp_yaml *yaml, const yaml_node_t *root)) {
        for (int number = 0;; number++) {
                yaml_document_t document;
                if (!yaml_parser_load(parser, &document))
                        return syntax_error(yaml, parser, text, size);
                const yaml_node_t *root = yaml_document_get_root_node(&document);
                int r = 0;
                yaml->document = &document;
                if (!root && number == 0)
                        r = zp_error_set(yaml->err, EINVAL, "%s:1: the %s is empty", yaml->path, yaml->what);
                else if (root)
                        r = number == 0 ? read(yaml, root) : zp_yaml_fail(yaml, root, "a second document");
                yaml_document_delete(&document);
                yaml->document = NULL;
                if (r < 0 || !root)
                        return r;
        }
}

int zp_yaml_read(const char *text, size_t size, struct zp_yaml *yaml,
                 int (*read)(struct zp_yaml *yaml, const yaml_node_t *root)) {
        yaml_parser_t parser;
        if (!yaml_parser_initialize(&parser))
                return zp_yaml_no_memory(yaml);
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, size);
        int r = read_stream(yaml, &parser, text, size, read);
        yaml_parser_delete(&parser);
        return r;
}
