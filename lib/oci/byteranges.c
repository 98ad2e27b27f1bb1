/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/byteranges.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/bytes.h"

#define TYPE "multipart/byteranges"
#define BOUNDARY_MAX 70 /* RFC 2046, 5.1.1 */
#define LINE_SIZE_MAX 1024
/* Of a part's head, and blank ones before a boundary. */
#define LINES_MAX 32

enum place { BEFORE_BOUNDARY, IN_HEAD, IN_DATA, AT_END };

struct zp_byteranges {
        char boundary[2 + BOUNDARY_MAX + 1]; /* with its "--" */
        enum place place;
        char line[LINE_SIZE_MAX];
        size_t line_size;
        unsigned lines;
        bool has_range;
        struct zp_content_range range;
        uint64_t position; /* of the next byte */
};

static const char *skip_blanks(const char *text) {
        return text + strspn(text, " \t");
}

/* The value of a parameter, perhaps in quotes; those that need escapes are no boundary. 0: it is not there. */
static size_t find_parameter(const char *text, const char *name, const char **value) {
        size_t name_size = strlen(name);
        for (text = strchr(text, ';'); text; text = strchr(text, ';')) {
                text = skip_blanks(text + 1);
                if (strncasecmp(text, name, name_size) != 0 || text[name_size] != '=')
                        continue;
                text += name_size + 1;
                bool is_quoted = *text == '"';
                *value = text + is_quoted;
                size_t size = strcspn(*value, is_quoted ? "\"\\" : "; \t");
                return is_quoted && (*value)[size] != '"' ? 0 : size;
        }
        return 0;
}

int zp_byteranges_new(const char *content_type, struct zp_byteranges **out, struct zp_error *err) {
        const char *boundary;
        size_t type_size = strlen(TYPE);
        if (!content_type || strncasecmp(content_type, TYPE, type_size) != 0 ||
            *skip_blanks(content_type + type_size) != ';')
                return zp_error_set(err, EPROTO, "the server sent something else than several ranges");
        size_t size = find_parameter(content_type, "boundary", &boundary);
        if (size == 0 || size > BOUNDARY_MAX)
                return zp_error_set(err, EPROTO, "the server sent several ranges without a boundary");
        struct zp_byteranges *ranges = calloc(1, sizeof *ranges);
        if (!ranges)
                return zp_error_errno(err, ENOMEM, "response");
        memcpy(ranges->boundary, "--", 2);
        memcpy(ranges->boundary + 2, boundary, size);
        *out = ranges;
        return 0;
}

void zp_byteranges_free(struct zp_byteranges *ranges) {
        free(ranges);
}

static int malformed(struct zp_error *err) {
        return zp_error_set(err, EPROTO, "the server's answer of several ranges is malformed");
}

static void enter(struct zp_byteranges *ranges, enum place place) {
        ranges->place = place;
        ranges->lines = 0;
        ranges->has_range = false;
}

static int take_boundary(struct zp_byteranges *ranges, struct zp_error *err) {
        size_t size = strlen(ranges->boundary);
        if (ranges->line[0] == '\0')
                return 0;
        if (strncmp(ranges->line, ranges->boundary, size) != 0)
                return malformed(err);
        const char *rest = ranges->line + size;
        bool is_last = strncmp(rest, "--", 2) == 0;
        if (*skip_blanks(rest + (is_last ? 2 : 0)) != '\0')
                return malformed(err);
        enter(ranges, is_last ? AT_END : IN_HEAD);
        return 0;
}

static int take_head_line(struct zp_byteranges *ranges, struct zp_error *err) {
        static const char name[] = "content-range:";
        if (ranges->line[0] == '\0') {
                if (!ranges->has_range)
                        return malformed(err);
                enter(ranges, IN_DATA);
                ranges->position = ranges->range.start;
                return 0;
        }
        if (strncasecmp(ranges->line, name, sizeof name - 1) != 0)
                return 0;
        if (ranges->has_range || !zp_content_range_parse(skip_blanks(ranges->line + sizeof name - 1), &ranges->range))
                return malformed(err);
        ranges->has_range = true;
        return 0;
}

static int end_line(struct zp_byteranges *ranges, struct zp_error *err) {
        ranges->line[ranges->line_size] = '\0';
        if (++ranges->lines > LINES_MAX || strlen(ranges->line) != ranges->line_size)
                return malformed(err);
        while (ranges->line_size > 0 && strchr("\r \t", ranges->line[ranges->line_size - 1]))
                ranges->line[--ranges->line_size] = '\0';
        ranges->line_size = 0;
        return ranges->place == IN_HEAD ? take_head_line(ranges, err) : take_boundary(ranges, err);
}

/* *used: how much of the data it was. */
static int take_text(struct zp_byteranges *ranges, const char *data, size_t size, size_t *used, struct zp_error *err) {
        const char *newline = memchr(data, '\n', size);
        size_t part = newline ? (size_t) (newline - data) : size;
        if (part >= LINE_SIZE_MAX - ranges->line_size)
                return malformed(err);
        memcpy(ranges->line + ranges->line_size, data, part);
        ranges->line_size += part;
        *used = part + (newline != NULL);
        return newline ? end_line(ranges, err) : 0;
}

static int take_data(struct zp_byteranges *ranges, const char *data, size_t size, size_t *used, zp_byteranges_sink sink,
                     void *context, struct zp_error *err) {
        *used = (size_t) zp_min_u64(size, ranges->range.end - ranges->position);
        int r = sink(context, &ranges->range, ranges->position, data, *used, err);
        ranges->position += *used;
        if (ranges->position == ranges->range.end)
                enter(ranges, BEFORE_BOUNDARY);
        return r;
}

int zp_byteranges_feed(struct zp_byteranges *ranges, const void *data, size_t size, zp_byteranges_sink sink,
                       void *context, struct zp_error *err) {
        const char *next = data;
        for (size_t used = 0; size > 0 && ranges->place != AT_END; next += used, size -= used) {
                int r = ranges->place == IN_DATA ? take_data(ranges, next, size, &used, sink, context, err)
                                                 : take_text(ranges, next, size, &used, err);
                if (r < 0)
                        return r;
        }
        return 0;
}
