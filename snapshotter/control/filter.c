/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/filter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "base/arena.h"
#include "base/buffer.h"

/* Go's regular expressions take linear time; what would take more here does not match. */
#define MATCH_LIMIT 100000

enum comparison { PRESENT, EQUAL, NOT_EQUAL, MATCHES };

struct selector {
        struct selector *next;
        const char *field; /* the first component */
        const char *rest;  /* the others, joined by '.' */
        enum comparison comparison;
        const char *value;
        pcre2_code *regex; /* NULL: not a regular expression, which matches nothing */
        pcre2_match_data *match;
};

struct one {
        struct one *next;
        struct selector *selectors; /* NULL: matches everything */
};

struct snap_filter {
        struct zp_arena arena;
        pcre2_match_context *context;
        struct one *filters; /* NULL: matches everything */
};

struct parser {
        struct snap_filter *filter;
        const char *input, *next;
        struct zp_error *err;
};

/* ---- tokens ---- */

static int fail(const struct parser *p, const char *what) {
        return zp_error_set(p->err, EINVAL, "filter '%.200s': at character %d: %s", p->input,
                            (int) (p->next - p->input) + 1, what);
}

static int no_memory(const struct parser *p) {
        return zp_error_errno(p->err, ENOMEM, "filter");
}

static void skip_spaces(struct parser *p) {
        p->next += strspn(p->next, " \t\n\v\f\r");
}

static bool is_field_character(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static int digit_of(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 16;
}

static bool add_character(struct zp_buffer *text, uint32_t c) {
        char bytes[4];
        size_t size;
        if (c < 0x80) {
                bytes[0] = (char) c;
                size = 1;
        } else if (c < 0x800) {
                bytes[0] = (char) (0xc0 | c >> 6);
                size = 2;
        } else if (c < 0x10000) {
                bytes[0] = (char) (0xe0 | c >> 12);
                size = 3;
        } else {
                bytes[0] = (char) (0xf0 | c >> 18);
                size = 4;
        }
        for (size_t i = 1; i < size; i++)
                bytes[i] = (char) (0x80 | (c >> 6 * (size - 1 - i) & 0x3f));
        return zp_buffer_append(text, bytes, size);
}

/* \ooo, \xhh: one byte; \uhhhh, \Uhhhhhhhh: one character. */
static int read_number(struct parser *p, struct zp_buffer *text, char kind) {
        int base = kind == 'o' ? 8 : 16, digits = kind == 'o' ? 3 : kind == 'x' ? 2 : kind == 'u' ? 4 : 8;
        uint64_t value = 0;
        for (; digits > 0; digits--, p->next++) {
                if (digit_of(*p->next) >= base)
                        return fail(p, "not a digit");
                value = value * (uint64_t) base + (uint64_t) digit_of(*p->next);
        }
        bool is_byte = kind == 'o' || kind == 'x';
        if (value == 0 || value > (is_byte ? 0xff : 0x10ffff))
                return fail(p, "no such character");
        char byte = (char) value;
        bool done = is_byte ? zp_buffer_append(text, &byte, 1) : add_character(text, (uint32_t) value);
        return done ? 0 : no_memory(p);
}

static int read_escape(struct parser *p, struct zp_buffer *text, char quote) {
        static const char names[] = "abfnrtv\\", values[] = "\a\b\f\n\r\t\v\\";
        char c = *p->next;
        if (c >= '0' && c <= '7')
                return read_number(p, text, 'o');
        p->next += c != '\0';
        if (c == 'x' || c == 'u' || c == 'U')
                return read_number(p, text, c);
        const char *at = c ? strchr(names, c) : NULL;
        if (!at && c != quote)
                return fail(p, "unknown escape sequence");
        return zp_buffer_append(text, at ? &values[at - names] : &c, 1) ? 0 : no_memory(p);
}

static int read_quoted(struct parser *p, const char **out) {
        zp_autobuffer struct zp_buffer text = { 0 };
        char quote = *p->next++;
        while (*p->next != quote) {
                if (*p->next == '\0' || *p->next == '\n')
                        return fail(p, "the quote does not end");
                int r = 0;
                if (*p->next == '\\') {
                        p->next++;
                        r = read_escape(p, &text, quote);
                } else if (!zp_buffer_append(&text, p->next++, 1)) {
                        r = no_memory(p);
                }
                if (r < 0)
                        return r;
        }
        p->next++;
        *out = zp_arena_copy(&p->filter->arena, text.data ? text.data : "", text.size);
        return *out ? 0 : no_memory(p);
}

static int take(struct parser *p, size_t size, const char **out) {
        *out = zp_arena_copy(&p->filter->arena, p->next, size);
        p->next += size;
        return *out ? 0 : no_memory(p);
}

/* ---- grammar ---- */

static int read_field(struct parser *p, const char **out) {
        skip_spaces(p);
        if (*p->next == '"')
                return read_quoted(p, out);
        size_t size = 0;
        while (is_field_character(p->next[size]))
                size++;
        return size ? take(p, size, out) : fail(p, "a field is wanted");
}

static int read_path(struct parser *p, struct selector *selector) {
        zp_autobuffer struct zp_buffer rest = { 0 };
        int r = read_field(p, &selector->field);
        while (r == 0 && *p->next == '.') {
                const char *field;
                bool is_first = rest.data == NULL;
                p->next++;
                r = read_field(p, &field);
                if (r == 0 && !(zp_buffer_text(&rest, is_first ? "" : ".") && zp_buffer_text(&rest, field)))
                        r = no_memory(p);
        }
        if (r < 0)
                return r;
        selector->rest = zp_arena_copy(&p->filter->arena, rest.data ? rest.data : "", rest.size);
        return selector->rest ? 0 : no_memory(p);
}

static int read_operator(struct parser *p, enum comparison *out) {
        skip_spaces(p);
        size_t size = strspn(p->next, "=!~");
        if (size == 2 && strncmp(p->next, "==", 2) == 0)
                *out = EQUAL;
        else if (size == 2 && strncmp(p->next, "!=", 2) == 0)
                *out = NOT_EQUAL;
        else if (size == 2 && strncmp(p->next, "~=", 2) == 0)
                *out = MATCHES;
        else
                return fail(p, "one of == != ~= is wanted");
        p->next += size;
        return 0;
}

static int read_value(struct parser *p, enum comparison comparison, const char **out) {
        skip_spaces(p);
        if (*p->next == '"' || ((*p->next == '/' || *p->next == '|') && comparison == MATCHES))
                return read_quoted(p, out);
        if (*p->next == '\0' || strchr("/|,.=!~", *p->next))
                return fail(p, "a value is wanted");
        size_t size = 0;
        while ((unsigned char) p->next[size] > ' ' && p->next[size] != ',' && p->next[size] != 0x7f)
                size++;
        return size ? take(p, size, out) : fail(p, "a value is wanted");
}

static int compile(struct parser *p, struct selector *selector) {
        int code;
        PCRE2_SIZE offset;
        uint32_t options = PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C | PCRE2_DOLLAR_ENDONLY;
        selector->regex =
                pcre2_compile((PCRE2_SPTR) selector->value, PCRE2_ZERO_TERMINATED, options, &code, &offset, NULL);
        if (!selector->regex)
                return 0;
        selector->match = pcre2_match_data_create_from_pattern(selector->regex, NULL);
        return selector->match ? 0 : no_memory(p);
}

static int read_selector(struct parser *p, struct one *one) {
        struct selector *selector = zp_arena_alloc(&p->filter->arena, sizeof *selector);
        if (!selector)
                return no_memory(p);
        selector->next = one->selectors;
        one->selectors = selector;
        int r = read_path(p, selector);
        if (r < 0 || *p->next == '\0' || *p->next == ',')
                return r;
        r = read_operator(p, &selector->comparison);
        if (r == 0)
                r = read_value(p, selector->comparison, &selector->value);
        if (r == 0 && selector->comparison == MATCHES)
                r = compile(p, selector);
        return r;
}

static int read_filter(struct parser *p) {
        struct one *one = zp_arena_alloc(&p->filter->arena, sizeof *one);
        if (!one)
                return no_memory(p);
        one->next = p->filter->filters;
        p->filter->filters = one;
        if (*p->input == '\0')
                return 0;
        for (int count = 0; count < SNAP_FILTER_SELECTORS_MAX; count++) {
                int r = read_selector(p, one);
                if (r < 0 || *p->next == '\0')
                        return r;
                if (*p->next != ',')
                        return fail(p, "unexpected");
                p->next++;
        }
        return fail(p, "too many selectors");
}

int snap_filter_parse(const char *const *texts, size_t count, struct snap_filter **out, struct zp_error *err) {
        zp_auto(snap_filter_free) struct snap_filter *filter = calloc(1, sizeof *filter);
        if (!filter || !(filter->context = pcre2_match_context_create(NULL)))
                return zp_error_errno(err, ENOMEM, "filter");
        pcre2_set_match_limit(filter->context, MATCH_LIMIT);
        pcre2_set_heap_limit(filter->context, 1024);
        if (count > SNAP_FILTERS_MAX)
                return zp_error_set(err, EINVAL, "%zu filters; the limit is %d", count, SNAP_FILTERS_MAX);
        for (size_t i = 0; i < count; i++) {
                struct parser p = { .filter = filter, .input = texts[i], .next = texts[i], .err = err };
                int r = read_filter(&p);
                if (r < 0)
                        return r;
        }
        *out = zp_steal(&filter);
        return 0;
}

void snap_filter_free(struct snap_filter *filter) {
        if (!filter)
                return;
        for (struct one *one = filter->filters; one; one = one->next)
                for (struct selector *selector = one->selectors; selector; selector = selector->next) {
                        pcre2_match_data_free(selector->match);
                        pcre2_code_free(selector->regex);
                }
        pcre2_match_context_free(filter->context);
        zp_arena_clear(&filter->arena);
        free(filter);
}

/* ---- matching ---- */

const char *snap_label_get(const struct snap_labels *labels, const char *key) {
        for (size_t i = 0; i < labels->count; i++)
                if (strcmp(labels->items[i].key, key) == 0 && labels->items[i].value[0])
                        return labels->items[i].value;
        return NULL;
}

/* The field's value; NULL: it is not there. */
static const char *value_of(const struct selector *selector, const struct snap_info *info) {
        static const char *const kinds[] = {
                [SNAP_VIEW] = "view", [SNAP_ACTIVE] = "active", [SNAP_COMMITTED] = "committed"
        };
        if (strcmp(selector->field, "kind") == 0)
                return kinds[info->kind];
        if (strcmp(selector->field, "name") == 0)
                return info->name;
        if (strcmp(selector->field, "parent") == 0)
                return info->parent;
        return strcmp(selector->field, "labels") == 0 ? snap_label_get(&info->labels, selector->rest) : NULL;
}

static bool selector_matches(const struct snap_filter *filter, const struct selector *selector,
                             const struct snap_info *info) {
        const char *value = value_of(selector, info);
        switch (selector->comparison) {
        case PRESENT:
                return value != NULL;
        case EQUAL:
                return value && strcmp(value, selector->value) == 0;
        case NOT_EQUAL:
                return strcmp(value ? value : "", selector->value) != 0;
        case MATCHES:
                return selector->regex &&
                       pcre2_match(selector->regex, (PCRE2_SPTR) (value ? value : ""), PCRE2_ZERO_TERMINATED, 0, 0,
                                   selector->match, filter->context) >= 0;
        }
        return false;
}

static bool all_match(const struct snap_filter *filter, const struct one *one, const struct snap_info *info) {
        for (const struct selector *selector = one->selectors; selector; selector = selector->next)
                if (!selector_matches(filter, selector, info))
                        return false;
        return true;
}

bool snap_filter_matches(struct snap_filter *filter, const struct snap_info *info) {
        for (const struct one *one = filter->filters; one; one = one->next)
                if (all_match(filter, one, info))
                        return true;
        return filter->filters == NULL;
}
