/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/config-yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/cleanup.h"

/* ---- single values ---- */

int hook_yaml_text(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        const char *text;
        int r = zp_yaml_text(&y->yaml, node, what, &text);
        if (r < 0)
                return r;
        *out = zp_arena_copy(y->arena, text, strlen(text));
        return *out ? 0 : zp_yaml_no_memory(&y->yaml);
}

int hook_yaml_path(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        const char *slash = strrchr(y->yaml.path, '/');
        int r = hook_yaml_text(y, node, what, out);
        if (r < 0 || (*out)[0] == '/' || !slash)
                return r;
        zp_autofree char *path = zp_format("%.*s/%s", (int) (slash - y->yaml.path), y->yaml.path, *out);
        *out = path ? zp_arena_copy(y->arena, path, strlen(path)) : NULL;
        return *out ? 0 : zp_yaml_no_memory(&y->yaml);
}

/* Digits and a unit; `units` are letters, `factors` theirs. */
static int quantity(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char *units,
                    const int64_t *factors, int64_t *out) {
        const char *text;
        int r = zp_yaml_text(&y->yaml, node, what, &text);
        if (r < 0)
                return r;
        if (strcmp(text, "0") == 0) { /* of whatever unit */
                *out = 0;
                return 0;
        }
        size_t digits = strspn(text, "0123456789");
        const char *unit = strchr(units, text[digits] ? text[digits] : ' ');
        int64_t number = digits > 0 && digits < 19 ? strtoll(text, NULL, 10) : -1;
        if (number < 0 || !unit || (text[digits] && text[digits + 1]) ||
            __builtin_mul_overflow(number, factors[unit - units], out))
                return zp_yaml_fail(&y->yaml, node, "%s: '%.40s' is not a number with one of the units %s%s", what,
                                    text, units + (units[0] == ' '), units[0] == ' ' ? " (or none)" : "");
        return 0;
}

int hook_yaml_number(struct hook_yaml *y, const yaml_node_t *node, const char *what, int64_t min, int64_t max,
                     int64_t *out) {
        const char *text;
        char *end;
        int r = zp_yaml_text(&y->yaml, node, what, &text);
        if (r < 0)
                return r;
        errno = 0;
        *out = strtoll(text, &end, 10);
        if (errno || *end || *out < min || *out > max || !strchr("-0123456789", text[0]))
                return zp_yaml_fail(&y->yaml, node, "%s: '%.40s' is not a number from %lld to %lld", what, text,
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
        int r = zp_yaml_text(&y->yaml, node, what, &text);
        if (r < 0)
                return r;
        for (*out = 0; words[*out]; ++*out)
                if (strcmp(words[*out], text) == 0)
                        return 0;
        char known[200] = "";
        for (int i = 0; words[i]; i++)
                snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", words[i]);
        return zp_yaml_fail(&y->yaml, node, "%s: '%.40s' is none of: %s", what, text, known);
}

int hook_yaml_bool(struct hook_yaml *y, const yaml_node_t *node, const char *what, bool *out) {
        static const char *const words[] = { "false", "true", NULL };
        int word;
        int r = hook_yaml_word(y, node, what, words, &word);
        *out = r == 0 && word == 1;
        return r;
}

/* ---- lists ---- */

int hook_yaml_count(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, size_t *count) {
        *count = 1;
        return node->type == YAML_SCALAR_NODE ? 0 : zp_yaml_list(&y->yaml, node, what, max, count);
}

const yaml_node_t *hook_yaml_item(struct hook_yaml *y, const yaml_node_t *node, size_t i) {
        return node->type == YAML_SCALAR_NODE ? node : zp_yaml_entry(&y->yaml, node, i);
}

int hook_yaml_texts(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t max, const char *const **out,
                    size_t *count) {
        int r = hook_yaml_count(y, node, what, max, count);
        if (r < 0)
                return r;
        const char **texts = zp_arena_alloc(y->arena, *count * sizeof *texts);
        if (!texts)
                return zp_yaml_no_memory(&y->yaml);
        for (size_t i = 0; i < *count && r == 0; i++)
                r = hook_yaml_text(y, hook_yaml_item(y, node, i), what, &texts[i]);
        *out = texts;
        return r;
}
