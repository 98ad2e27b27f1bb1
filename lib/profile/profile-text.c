/* SPDX-License-Identifier: Apache-2.0
 *
 * The file format of profiles: a line per read, "PATH\tOFFSET\tLENGTH", or only the path for all of the file.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/limits.h"
#include "profile/profile.h"

static int hex_value(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One character of a path, at *text; moves on. -1: no such escape. */
static int next_character(const char **text, const char *end) {
        const char *p = *text;
        size_t left = (size_t) (end - p);
        if (*p != '\\') {
                *text += 1;
                return (unsigned char) *p;
        }
        if (left >= 4 && p[1] == 'x' && hex_value(p[2]) >= 0 && hex_value(p[3]) >= 0) {
                *text += 4;
                return hex_value(p[2]) * 16 + hex_value(p[3]);
        }
        *text += 2;
        return left >= 2 && p[1] == '\\'  ? '\\'
               : left >= 2 && p[1] == 't' ? '\t'
               : left >= 2 && p[1] == 'n' ? '\n'
                                          : -1;
}

static int read_path(const char *text, const char *end, char path[ZP_LIMIT_PATH], struct zp_error *err) {
        size_t size = 0;
        while (text < end) {
                int c = next_character(&text, end);
                if (c < 0)
                        return zp_error_set(err, EINVAL, "unknown escape in the path");
                if (c == 0)
                        return zp_error_set(err, EINVAL, "a NUL in the path");
                if (size == ZP_LIMIT_PATH - 1)
                        return zp_error_set(err, ENAMETOOLONG, "path of %u bytes or more", ZP_LIMIT_PATH);
                path[size++] = (char) c;
        }
        path[size] = '\0';
        return 0;
}

/* Decimal digits and nothing else. */
static bool read_number(const char *text, const char *end, uint64_t *out) {
        uint64_t value = 0;
        if (text == end)
                return false;
        for (; text < end; text++) {
                if (*text < '0' || *text > '9' || __builtin_mul_overflow(value, 10, &value) ||
                    __builtin_add_overflow(value, (uint64_t) (*text - '0'), &value))
                        return false;
        }
        *out = value;
        return true;
}

static int read_line(struct zp_profile *profile, const char *line, const char *end, struct zp_error *err) {
        char path[ZP_LIMIT_PATH];
        uint64_t offset = 0, length = ZP_PROFILE_WHOLE;
        const char *tab = memchr(line, '\t', (size_t) (end - line));
        if (*line != '/')
                return zp_error_set(err, EINVAL, "not a path from the image's root: no '/' in front");
        int r = read_path(line, tab ? tab : end, path, err);
        if (r < 0)
                return r;
        if (tab) {
                const char *second = memchr(tab + 1, '\t', (size_t) (end - tab - 1));
                if (!second || !read_number(tab + 1, second, &offset) || !read_number(second + 1, end, &length) ||
                    length == ZP_PROFILE_WHOLE)
                        return zp_error_set(err, EINVAL, "not a path, or a path, an offset and a length");
        }
        return zp_profile_add(profile, path, offset, length, err);
}

int zp_profile_parse(struct zp_profile *profile, const char *text, size_t size, const char *name,
                     struct zp_error *err) {
        if (size > ZP_LIMIT_PROFILE_SIZE)
                return zp_error_set(err, EBADMSG, "%s: larger than %u MiB", name,
                                    (unsigned) (ZP_LIMIT_PROFILE_SIZE >> 20));
        const char *end = text + size;
        for (unsigned number = 1; text < end; number++) {
                const char *newline = memchr(text, '\n', (size_t) (end - text));
                const char *line_end = newline ? newline : end;
                struct zp_error why = { 0 };
                if (line_end > text && *text != '#' && read_line(profile, text, line_end, &why) < 0)
                        return why.code == ENOMEM ? zp_error_errno(err, ENOMEM, "%s", name)
                                                  : zp_error_set(err, EBADMSG, "%s:%u: %s", name, number, why.message);
                text = line_end + 1;
        }
        return 0;
}

static bool append_path(struct zp_buffer *out, const char *path) {
        bool is_ok = zp_buffer_append(out, "/", 1);
        for (; *path && is_ok; path++) {
                char escaped[8];
                unsigned char c = (unsigned char) *path;
                if (c == '\\')
                        is_ok = zp_buffer_append(out, "\\\\", 2);
                else if (c < 0x20 || c == 0x7f)
                        is_ok = zp_buffer_append(out, escaped,
                                                 (size_t) snprintf(escaped, sizeof escaped, "\\x%02x", c));
                else
                        is_ok = zp_buffer_append(out, path, 1);
        }
        return is_ok;
}

int zp_profile_format(const struct zp_profile *profile, struct zp_buffer *out, struct zp_error *err) {
        uint32_t count;
        const struct zp_profile_entry *entries = zp_profile_entries(profile, &count);
        for (uint32_t i = 0; i < count; i++) {
                char range[64] = "\n";
                if (entries[i].length != ZP_PROFILE_WHOLE)
                        snprintf(range, sizeof range, "\t%" PRIu64 "\t%" PRIu64 "\n", entries[i].offset,
                                 entries[i].length);
                if (!append_path(out, entries[i].path) || !zp_buffer_text(out, range))
                        return zp_error_errno(err, ENOMEM, "profile");
        }
        return 0;
}

int zp_profile_digest(const struct zp_profile *profile, struct zp_digest *out, struct zp_error *err) {
        zp_autobuffer struct zp_buffer text = { 0 };
        int r = zp_profile_format(profile, &text, err);
        if (r == 0)
                zp_digest_of(text.data ? text.data : "", text.size, out);
        return r;
}
