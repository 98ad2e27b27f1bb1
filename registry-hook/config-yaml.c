/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/config-yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"

int hook_yaml_fail(struct hook_yaml *y, const yaml_node_t *node, const char *format, ...) {
        char message[ZP_ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        return zp_error_set(y->err, EINVAL, "%s:%zu: %s", y->path, hook_yaml_line(node), message);
}

int hook_yaml_no_memory(struct hook_yaml *y) {
        return zp_error_errno(y->err, ENOMEM, "configuration '%s'", y->path);
}

size_t hook_yaml_line(const yaml_node_t *node) {
        return node->start_mark.line + 1;
}

/* ---- single values ---- */

static int scalar(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        if (node->type != YAML_SCALAR_NODE)
                return hook_yaml_fail(y, node, "%s: not a single value", what);
        *out = (const char *) node->data.scalar.value;
        if (node->data.scalar.length == 0 || strlen(*out) != node->data.scalar.length)
                return hook_yaml_fail(y, node, "%s: empty, or with a NUL in it", what);
        return 0;
}

int hook_yaml_text(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        const char *text;
        int r = scalar(y, node, what, &text);
        if (r < 0)
                return r;
        *out = zp_arena_copy(y->arena, text, strlen(text));
        return *out ? 0 : hook_yaml_no_memory(y);
}

int hook_yaml_path(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        const char *slash = strrchr(y->path, '/');
        int r = hook_yaml_text(y, node, what, out);
        if (r < 0 || (*out)[0] == '/' || !slash)
                return r;
        zp_autofree char *path = zp_format("%.*s/%s", (int) (slash - y->path), y->path, *out);
        *out = path ? zp_arena_copy(y->arena, path, strlen(path)) : NULL;
        return *out ? 0 : hook_yaml_no_memory(y);
}

/* Digits and a unit; `units` are letters, `factors` theirs. */
static int quantity(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *units,
                    const int64_t *factors, int64_t *out) {
        const char *text;
        int r = scalar(y, node, what, &text);
        if (r < 0)
                return r;
        size_t digits = strspn(text, "0123456789");
        const char *unit = strchr(units, text[digits] ? text[digits] : ' ');
        int64_t number = digits > 0 && digits < 19 ? strtoll(text, NULL, 10) : -1;
        if (number < 0 || !unit || (text[digits] && text[digits + 1]) ||
            __builtin_mul_overflow(number, factors[unit - units], out))
                return hook_yaml_fail(y, node, "%s: '%.40s' is not a number with one of the units%s%s", what, text,
                                      units[0] == ' ' ? " (or none)" : "", units);
        return 0;
}

int hook_yaml_number(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t min, int64_t max,
                     int64_t *out) {
        const char *text;
        char *end;
        int r = scalar(y, node, what, &text);
        if (r < 0)
                return r;
        errno = 0;
        *out = strtoll(text, &end, 10);
        if (errno || *end || *out < min || *out > max || !strchr("-0123456789", text[0]))
                return hook_yaml_fail(y, node, "%s: '%.40s' is not a number from %lld to %lld", what, text,
                                      (long long) min, (long long) max);
        return 0;
}

int hook_yaml_size(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out) {
        static const int64_t factors[] = { 1, 1 << 10, 1 << 20, 1 << 30, INT64_C(1) << 40 };
        return quantity(y, node, what, " KMGT", factors, out);
}

int hook_yaml_duration(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t *out_ms) {
        static const int64_t factors[] = { 1000, 60 * 1000, 3600 * 1000, 24 * 3600 * 1000 };
        return quantity(y, node, what, "smhd", factors, out_ms);
}

int hook_yaml_word(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const *words, int *out) {
        const char *text;
        int r = scalar(y, node, what, &text);
        if (r < 0)
                return r;
        for (*out = 0; words[*out]; ++*out)
                if (strcmp(words[*out], text) == 0)
                        return 0;
        char known[200] = "";
        for (int i = 0; words[i]; i++)
                snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", words[i]);
        return hook_yaml_fail(y, node, "%s: '%.40s' is none of: %s", what, text, known);
}

int hook_yaml_bool(struct hook_yaml *y, const yaml_node_t *node, const char *what, bool *out) {
        static const char *const words[] = { "false", "true", NULL };
        int word;
        int r = hook_yaml_word(y, node, what, words, &word);
        *out = r == 0 && word == 1;
        return r;
}

/* ---- lists and mappings ---- */

int hook_yaml_count(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 1;
        if (node->type == YAML_SCALAR_NODE)
                return 0;
        if (node->type != YAML_SEQUENCE_NODE)
                return hook_yaml_fail(y, node, "%s: not a list", what);
        *count = (size_t) (node->data.sequence.items.top - node->data.sequence.items.start);
        if (*count == 0)
                return hook_yaml_fail(y, node, "%s: empty", what);
        return *count <= max ? 0 : hook_yaml_fail(y, node, "%s: more than %zu", what, max);
}

const yaml_node_t *hook_yaml_item(struct hook_yaml *y, const yaml_node_t *node, size_t i) {
        return node->type == YAML_SCALAR_NODE ? node
                                              : yaml_document_get_node(y->document, node->data.sequence.items.start[i]);
}

int hook_yaml_texts(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, const char *const **out,
                    size_t *count) {
        int r = hook_yaml_count(y, node, what, max, count);
        if (r < 0)
                return r;
        const char **texts = zp_arena_alloc(y->arena, *count * sizeof *texts);
        if (!texts)
                return hook_yaml_no_memory(y);
        for (size_t i = 0; i < *count && r == 0; i++)
                r = hook_yaml_text(y, hook_yaml_item(y, node, i), what, &texts[i]);
        *out = texts;
        return r;
}

int hook_yaml_pairs(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 0;
        if (node->type != YAML_MAPPING_NODE)
                return hook_yaml_fail(y, node, "%s: not a mapping ('name: value')", what);
        *count = (size_t) (node->data.mapping.pairs.top - node->data.mapping.pairs.start);
        return *count <= max ? 0 : hook_yaml_fail(y, node, "%s: more than %zu", what, max);
}

void hook_yaml_pair(struct hook_yaml *y, const yaml_node_t *node, size_t i, const yaml_node_t **name,
                    const yaml_node_t **value) {
        const yaml_node_pair_t *pair = &node->data.mapping.pairs.start[i];
        *name = yaml_document_get_node(y->document, pair->key);
        *value = yaml_document_get_node(y->document, pair->value);
}

int hook_yaml_members(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *const *names,
                      const yaml_node_t **values) {
        size_t count, known = 0;
        int r = hook_yaml_pairs(y, node, what, 64, &count);
        for (; names[known]; known++)
                values[known] = NULL;
        for (size_t i = 0; i < count && r == 0; i++) {
                const yaml_node_t *key, *value;
                const char *name;
                hook_yaml_pair(y, node, i, &key, &value);
                r = scalar(y, key, what, &name);
                if (r < 0)
                        break;
                size_t at = 0;
                while (at < known && strcmp(names[at], name) != 0)
                        at++;
                if (at == known)
                        r = hook_yaml_fail(y, key, "%s: '%.40s' is not known", what, name);
                else if (values[at])
                        r = hook_yaml_fail(y, key, "%s: '%s' a second time", what, name);
                else
                        values[at] = value;
        }
        return r;
}

/* ---- the document ---- */

static int syntax_error(struct hook_yaml *y, const yaml_parser_t *parser, const char *text, size_t size) {
        size_t line = parser->problem_mark.line + 1;
        if (parser->error == YAML_MEMORY_ERROR)
                return hook_yaml_no_memory(y);
        if (parser->error == YAML_READER_ERROR) { /* has an offset alone */
                line = 1;
                for (size_t i = 0; i < size && i < parser->problem_offset; i++)
                        line += text[i] == '\n';
        }
        zp_error_set(y->err, EINVAL, "%s:%zu: %s%s%s", y->path, line, parser->context ? parser->context : "",
                     parser->context ? ": " : "", parser->problem ? parser->problem : "not YAML");
        if (parser->context && strcmp(parser->context, "while scanning an alias") == 0)
                zp_error_hint(y->err, "YAML wants quotes around what begins with '*'");
        return -EINVAL;
}

int hook_yaml_parse(struct hook_yaml *y, const char *text, size_t size,
                    int (*read)(struct hook_yaml *y, const yaml_node_t *root, void *context), void *context) {
        yaml_parser_t parser;
        yaml_document_t document;
        if (!yaml_parser_initialize(&parser))
                return hook_yaml_no_memory(y);
        yaml_parser_set_input_string(&parser, (const unsigned char *) text, size);
        int r = 0;
        bool more = true;
        for (int number = 0; more && r == 0; number++) {
                if (!yaml_parser_load(&parser, &document)) {
                        r = syntax_error(y, &parser, text, size);
                        break;
                }
                const yaml_node_t *root = yaml_document_get_root_node(&document);
                more = root != NULL;
                y->document = &document;
                if (!root && number == 0)
                        r = zp_error_set(y->err, EINVAL, "%s:1: the file is empty", y->path);
                else if (root)
                        r = number == 0 ? read(y, root, context) : hook_yaml_fail(y, root, "a second document");
                yaml_document_delete(&document);
        }
        yaml_parser_delete(&parser);
        return r;
}
