/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/toml.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

#define DEPTH_MAX 8
#define DOCUMENT_MAX (1u << 20)

struct parser {
        const char *name, *next, *end;
        unsigned line;
        json_t *begun;  /* the tables that have had a header, by their whole name */
        json_t *arrays; /* the arrays of tables, likewise */
        struct zp_error *err;
};

static int fail(const struct parser *parser, const char *what) {
        return zp_error_set(parser->err, EINVAL, "%s:%u: %s", parser->name, parser->line, what);
}

static int out_of_memory(const struct parser *parser) {
        return zp_error_errno(parser->err, ENOMEM, "%s", parser->name);
}

static char peek(const struct parser *parser) {
        return parser->next < parser->end ? *parser->next : '\0';
}

static bool take(struct parser *parser, char wanted) {
        if (parser->next == parser->end || *parser->next != wanted)
                return false;
        parser->next++;
        return true;
}

static void skip_blanks(struct parser *parser) {
        while (peek(parser) == ' ' || peek(parser) == '\t')
                parser->next++;
}

static bool take_newline(struct parser *parser) {
        if (parser->end - parser->next >= 2 && memcmp(parser->next, "\r\n", 2) == 0)
                parser->next++;
        if (!take(parser, '\n'))
                return false;
        parser->line++;
        return true;
}

/* Blanks, and a comment if there is one. */
static int skip_comment(struct parser *parser) {
        skip_blanks(parser);
        if (peek(parser) != '#')
                return 0;
        for (; parser->next < parser->end && *parser->next != '\n'; parser->next++) {
                unsigned char c = (unsigned char) *parser->next;
                bool is_end = c == '\r' && parser->next + 1 < parser->end && parser->next[1] == '\n';
                if ((c < 0x20 && c != '\t' && !is_end) || c == 0x7f)
                        return fail(parser, "a control character in a comment");
        }
        if (parser->next[-1] == '\r')
                parser->next--;
        return 0;
}

/* Blanks, comments, ends of lines. */
static int skip_lines(struct parser *parser) {
        int r;
        do
                r = skip_comment(parser);
        while (r == 0 && take_newline(parser));
        return r;
}

static int end_line(struct parser *parser) {
        int r = skip_comment(parser);
        if (r == 0 && !take_newline(parser) && parser->next < parser->end)
                r = fail(parser, "something stands behind what should end here");
        return r;
}

static bool append_code_point(struct zp_buffer *text, uint32_t c) {
        const char bytes[4] = { (char) (c < 0x80      ? c
                                        : c < 0x800   ? 0xc0 | c >> 6
                                        : c < 0x10000 ? 0xe0 | c >> 12
                                                      : 0xf0 | c >> 18),
                                (char) (c < 0x800     ? 0x80 | (c & 63)
                                        : c < 0x10000 ? 0x80 | (c >> 6 & 63)
                                                      : 0x80 | (c >> 12 & 63)),
                                (char) (c < 0x10000 ? 0x80 | (c & 63) : 0x80 | (c >> 6 & 63)),
                                (char) (0x80 | (c & 63)) };
        return zp_buffer_append(text, bytes, c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4);
}

static int read_code_point(struct parser *parser, unsigned digits, struct zp_buffer *text) {
        uint32_t c = 0;
        for (; digits > 0; digits--) {
                static const char hex[] = "0123456789abcdef0123456789ABCDEF";
                const char *found = peek(parser) ? strchr(hex, peek(parser)) : NULL;
                if (!found)
                        return fail(parser, "\\u and \\U want four and eight hexadecimal digits");
                c = c << 4 | (uint32_t) ((found - hex) & 15);
                parser->next++;
        }
        if (c < 0x20 || c == 0x7f || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
                return fail(parser, "an escape that stands for no character of a text");
        return append_code_point(text, c) ? 0 : out_of_memory(parser);
}

static int read_escape(struct parser *parser, struct zp_buffer *text) {
        char c = peek(parser);
        parser->next += parser->next < parser->end;
        if (c == 'u' || c == 'U')
                return read_code_point(parser, c == 'u' ? 4 : 8, text);
        if (c == 't')
                c = '\t';
        else if (c != '"' && c != '\\')
                return fail(parser, "an escape that is not known here");
        return zp_buffer_append(text, &c, 1) ? 0 : out_of_memory(parser);
}

/* "basic" or 'literal'. */
static int read_string(struct parser *parser, struct zp_buffer *text) {
        char quote = *parser->next++;
        if (parser->end - parser->next >= 2 && parser->next[0] == quote && parser->next[1] == quote)
                return fail(parser, "multi-line strings are not supported");
        int r = zp_buffer_append(text, "", 0) ? 0 : out_of_memory(parser);
        while (r == 0 && !take(parser, quote)) {
                if (parser->next == parser->end || *parser->next == '\n')
                        return fail(parser, "a string does not end");
                unsigned char c = (unsigned char) *parser->next++;
                if ((c < 0x20 && c != '\t') || c == 0x7f)
                        return fail(parser, "a control character in a string");
                if (c == '\\' && quote == '"')
                        r = read_escape(parser, text);
                else if (!zp_buffer_append(text, &c, 1))
                        r = out_of_memory(parser);
        }
        return r;
}

static int read_value(struct parser *parser, unsigned depth, json_t **out);

static int read_array(struct parser *parser, unsigned depth, json_t **out) {
        zp_auto(json_decref) json_t *array = json_array();
        bool is_first = true, has_comma = true;
        parser->next++;
        if (!array)
                return out_of_memory(parser);
        if (depth == DEPTH_MAX)
                return fail(parser, "arrays nested too deeply");
        for (int r; !is_first || has_comma; is_first = false) {
                json_t *value;
                r = skip_lines(parser);
                if (r < 0)
                        return r;
                if (take(parser, ']')) {
                        *out = zp_steal(&array);
                        return 0;
                }
                if (!has_comma)
                        return fail(parser, "a comma is missing between two values, or the array does not end");
                r = read_value(parser, depth + 1, &value);
                if (r == 0 && json_array_append_new(array, value) < 0)
                        r = out_of_memory(parser);
                if (r == 0)
                        r = skip_lines(parser);
                if (r < 0)
                        return r;
                has_comma = take(parser, ',');
        }
        return 0;
}

static bool take_word(struct parser *parser, const char *word) {
        size_t size = strlen(word);
        if ((size_t) (parser->end - parser->next) < size || memcmp(parser->next, word, size) != 0)
                return false;
        parser->next += size;
        return true;
}

static int read_inline_table(struct parser *parser, unsigned depth, json_t **out);

/* Integers may have a base; underscores stand between digits. */
static int read_number(struct parser *parser, json_t **out) {
        char text[64], *end;
        size_t size = 0;
        for (char c; isalnum((unsigned char) (c = peek(parser))) || (c && strchr("+-._", c)); parser->next++) {
                bool is_between = size > 0 && isalnum((unsigned char) parser->next[-1]) &&
                                  parser->next + 1 < parser->end && isalnum((unsigned char) parser->next[1]);
                if (size == sizeof text - 1 || (c == '_' && !is_between))
                        return fail(parser, "not a number");
                if (c != '_')
                        text[size++] = c;
        }
        text[size] = '\0';
        int base = strncmp(text, "0x", 2) == 0   ? 16
                   : strncmp(text, "0o", 2) == 0 ? 8
                   : strncmp(text, "0b", 2) == 0 ? 2
                                                 : 10;
        const char *digits = base == 10 ? text : text + 2;
        errno = 0;
        long long integer = strtoll(digits, &end, base);
        bool is_whole = end > digits && *end == '\0' && errno == 0;
        if (is_whole && (base == 10 || isxdigit((unsigned char) digits[0]))) {
                *out = json_integer(integer);
                return *out ? 0 : out_of_memory(parser);
        }
        double real = strtod(text, &end);
        if (base != 10 || errno != 0 || *end || !isdigit((unsigned char) end[-1]) ||
            !isdigit((unsigned char) text[strspn(text, "+-")]))
                return fail(parser, "not a number");
        *out = json_real(real);
        return *out ? 0 : fail(parser, "not a number");
}

static int read_value(struct parser *parser, unsigned depth, json_t **out) {
        zp_autobuffer struct zp_buffer text = { 0 };
        int r = 0;
        *out = NULL;
        if (peek(parser) == '[')
                return read_array(parser, depth, out);
        if (peek(parser) == '"' || peek(parser) == '\'') {
                r = read_string(parser, &text);
                if (r == 0 && !(*out = json_stringn(text.data, text.size)))
                        r = fail(parser, "a string is not UTF-8");
                return r;
        }
        if (peek(parser) == '{')
                return read_inline_table(parser, depth, out);
        char c = peek(parser);
        if (isdigit((unsigned char) c) || c == '+' || c == '-')
                return read_number(parser, out);
        bool is_true = take_word(parser, "true");
        if (!is_true && !take_word(parser, "false"))
                return fail(parser, "a value is expected");
        *out = json_boolean(is_true);
        return 0;
}

static bool is_bare(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static int read_key(struct parser *parser, struct zp_buffer *key) {
        if (peek(parser) == '"' || peek(parser) == '\'')
                return read_string(parser, key);
        const char *start = parser->next;
        while (parser->next < parser->end && is_bare(*parser->next))
                parser->next++;
        if (parser->next == start)
                return fail(parser, "a key is expected");
        return zp_buffer_append(key, start, (size_t) (parser->next - start)) ? 0 : out_of_memory(parser);
}

/* Goes down from *table to the one called `key`, and makes it if it is missing. Of an array of tables it is the last.
 */
static int descend(const struct parser *parser, json_t **table, const struct zp_buffer *key) {
        json_t *below = json_object_get(*table, key->data);
        if (!below) {
                below = json_object();
                if (json_object_set_new(*table, key->data, below) < 0)
                        return fail(parser, "a key is not UTF-8");
        }
        if (json_is_array(below) && json_array_size(below) > 0)
                below = json_array_get(below, json_array_size(below) - 1);
        *table = below;
        return json_is_object(below) ? 0 : fail(parser, "what was a value cannot be a table");
}

/* One more table of the array called `key`; the tables below the last one may be begun again. */
static int add_to_array(const struct parser *parser, json_t **table, const struct zp_buffer *key,
                        const struct zp_buffer *whole) {
        const char *name;
        json_t *array = json_object_get(*table, key->data), *added = json_object(), *value;
        void *next;
        if (array && (!json_is_array(array) || !json_object_get(parser->arrays, whole->data))) {
                json_decref(added);
                return fail(parser, "what was something else cannot be an array of tables");
        }
        if (!array) {
                array = json_array();
                if (json_object_set_new(*table, key->data, array) < 0 ||
                    json_object_set_new(parser->arrays, whole->data, json_true()) < 0) {
                        json_decref(added);
                        return fail(parser, "a key is not UTF-8");
                }
        }
        if (json_array_append_new(array, added) < 0)
                return out_of_memory(parser);
        json_object_foreach_safe(parser->begun, next, name, value) {
                if (strncmp(name, whole->data, whole->size) == 0)
                        json_object_del(parser->begun, name);
        }
        *table = added;
        return 0;
}

static int begin_table(const struct parser *parser, json_t **table, const struct zp_buffer *key,
                       const struct zp_buffer *whole, bool is_array) {
        if (is_array)
                return add_to_array(parser, table, key, whole);
        int r = descend(parser, table, key);
        if (r == 0 && (json_object_get(parser->begun, whole->data) || json_object_get(parser->arrays, whole->data)))
                r = fail(parser, "this table is there twice");
        if (r == 0 && json_object_set_new(parser->begun, whole->data, json_true()) < 0)
                r = out_of_memory(parser);
        return r;
}

/* [a."b c".d] and [[a.b]] */
static int read_header(struct parser *parser, json_t *root, json_t **table) {
        zp_autobuffer struct zp_buffer whole = { 0 };
        *table = root;
        parser->next++;
        bool is_array = take(parser, '['), is_last;
        unsigned depth = 0;
        do {
                zp_autobuffer struct zp_buffer key = { 0 };
                skip_blanks(parser);
                int r = ++depth > DEPTH_MAX ? fail(parser, "tables nested too deeply") : read_key(parser, &key);
                if (r < 0)
                        return r;
                if (!zp_buffer_append(&whole, key.data, key.size) || !zp_buffer_append(&whole, "\n", 1))
                        return out_of_memory(parser);
                skip_blanks(parser);
                is_last = !take(parser, '.');
                if (is_last && (!take(parser, ']') || (is_array && !take(parser, ']'))))
                        return fail(parser, "the table's name does not end with ]");
                r = is_last ? begin_table(parser, table, &key, &whole, is_array) : descend(parser, table, &key);
                if (r < 0)
                        return r;
        } while (!is_last);
        return end_line(parser);
}

static int read_pair(struct parser *parser, unsigned depth, json_t *table) {
        zp_autobuffer struct zp_buffer key = { 0 };
        json_t *value;
        int r = read_key(parser, &key);
        if (r < 0)
                return r;
        skip_blanks(parser);
        if (peek(parser) == '.')
                return fail(parser, "dotted keys are not supported: use a [table]");
        if (!take(parser, '='))
                return fail(parser, "= is expected behind a key");
        if (json_object_get(table, key.data))
                return fail(parser, "this key is there twice");
        skip_blanks(parser);
        r = read_value(parser, depth, &value);
        if (r == 0 && json_object_set_new(table, key.data, value) < 0)
                r = fail(parser, "a key is not UTF-8");
        return r;
}

/* { a = 1, b = "x" }, on one line. */
static int read_inline_table(struct parser *parser, unsigned depth, json_t **out) {
        zp_auto(json_decref) json_t *table = json_object();
        parser->next++;
        if (!table)
                return out_of_memory(parser);
        if (depth == DEPTH_MAX)
                return fail(parser, "tables nested too deeply");
        skip_blanks(parser);
        bool is_done = take(parser, '}');
        while (!is_done) {
                skip_blanks(parser);
                int r = read_pair(parser, depth + 1, table);
                if (r < 0)
                        return r;
                skip_blanks(parser);
                is_done = take(parser, '}');
                if (!is_done && !take(parser, ','))
                        return fail(parser, "an inline table does not end");
        }
        *out = zp_steal(&table);
        return 0;
}

static int read_line(struct parser *parser, json_t *table) {
        int r = read_pair(parser, 0, table);
        return r < 0 ? r : end_line(parser);
}

int zp_toml_parse(const char *text, size_t size, const char *name, json_t **out, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = json_object();
        zp_auto(json_decref) json_t *begun = json_object();
        zp_auto(json_decref) json_t *arrays = json_object();
        struct parser parser = {
                .name = name, .next = text, .end = text + size, .line = 1, .begun = begun, .arrays = arrays, .err = err
        };
        json_t *table = root;
        if (!root || !begun || !arrays)
                return out_of_memory(&parser);
        if (size > DOCUMENT_MAX)
                return zp_error_set(err, EFBIG, "%s: larger than %u KiB", name, DOCUMENT_MAX >> 10);
        for (;;) {
                int r = skip_lines(&parser);
                if (r == 0 && parser.next == parser.end)
                        break;
                if (r == 0)
                        r = peek(&parser) == '[' ? read_header(&parser, root, &table) : read_line(&parser, table);
                if (r < 0)
                        return r;
        }
        *out = zp_steal(&root);
        return 0;
}
