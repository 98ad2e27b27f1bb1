/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "oci/http-internal.h"

static const struct {
        const char *name;
        size_t member; /* offset of a char * */
} fields[] = {
        { "location", offsetof(struct zp_http_response, location) },
        { "content-type", offsetof(struct zp_http_response, content_type) },
        { "content-length", offsetof(struct zp_http_response, content_length) },
        { "content-range", offsetof(struct zp_http_response, content_range) },
        { "docker-content-digest", offsetof(struct zp_http_response, content_digest) },
        { "retry-after", offsetof(struct zp_http_response, retry_after) },
        { "range", offsetof(struct zp_http_response, range) },
        { "etag", offsetof(struct zp_http_response, etag) },
        { "oci-subject", offsetof(struct zp_http_response, oci_subject) },
        { "oci-chunk-min-length", offsetof(struct zp_http_response, oci_chunk_min_length) },
};

/* Those that may come several times, and mean a list. */
static const struct {
        const char *name;
        size_t member; /* offset of a struct zp_buffer */
} lists[] = {
        { "www-authenticate", offsetof(struct zp_http_response, challenges) },
        { "link", offsetof(struct zp_http_response, links) },
};

static char **text_at(struct zp_http_response *response, size_t member) {
        return (char **) ((char *) response + member);
}

void zp_http_response_clear(struct zp_http_response *response) {
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
                free(*text_at(response, fields[i].member));
        free(response->url);
        zp_buffer_clear(&response->links);
        zp_buffer_clear(&response->challenges);
        zp_buffer_clear(&response->body);
        *response = (struct zp_http_response){ 0 };
}

void zp_http_read_status_line(struct zp_http_response *response, const char *line, size_t size) {
        zp_http_response_clear(response);
        const char *space = memchr(line, ' ', size);
        for (const char *p = space ? space + 1 : line + size; p < line + size && *p >= '0' && *p <= '9'; p++)
                if (response->status < 1000)
                        response->status = response->status * 10 + (*p - '0');
}

static bool is_named(const char *name, const char *line, size_t size) {
        return strlen(name) == size && strncasecmp(name, line, size) == 0;
}

bool zp_http_read_field(struct zp_http_response *response, const char *line, size_t size) {
        const char *colon = memchr(line, ':', size);
        if (!colon)
                return true;
        const char *value = colon + 1, *end = line + size;
        while (value < end && (*value == ' ' || *value == '\t'))
                value++;
        while (end > value && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' ' || end[-1] == '\t'))
                end--;
        size_t name_size = (size_t) (colon - line), value_size = (size_t) (end - value);
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
                struct zp_buffer *list = (struct zp_buffer *) ((char *) response + lists[i].member);
                if (is_named(lists[i].name, line, name_size))
                        return zp_buffer_text(list, list->size ? ", " : "") &&
                               zp_buffer_append(list, value, value_size);
        }
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
                char **member = text_at(response, fields[i].member);
                if (!is_named(fields[i].name, line, name_size))
                        continue;
                free(*member);
                *member = strndup(value, value_size);
                return *member;
        }
        return true;
}
