/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads /proc/self/mountinfo, see proc(5).
 */
#include "mount/table.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

#define MOUNTINFO_MAX ((size_t) 64 << 20)
#define MOUNT_POINT_FIELD 4

static bool octal(const char *p, char *out) {
        if (p[0] != '\\' || p[1] < '0' || p[1] > '3' || p[2] < '0' || p[2] > '7' || p[3] < '0' || p[3] > '7')
                return false;
        *out = (char) ((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
        return true;
}

/* Spaces, tabs, newlines and backslashes are written as \ooo. */
static void unescape(char *text) {
        char *to = text;
        for (const char *from = text; *from; to++) {
                if (octal(from, to))
                        from += 4;
                else
                        *to = *from++;
        }
        *to = '\0';
}

/* Splits a line, "36 35 98:0 /root /point options … - type source options". */
static bool parse_line(char *line, struct zp_mount *out) {
        char *separator = strstr(line, " - "), *point = NULL;
        if (!separator)
                return false;
        *separator = '\0';
        char *tail = separator + 3;
        for (int i = 0; i <= MOUNT_POINT_FIELD; i++)
                point = strsep(&line, " ");
        char *type = strsep(&tail, " "), *source = strsep(&tail, " ");
        if (!point || !source)
                return false;
        unescape(point);
        unescape(source);
        *out = (struct zp_mount){ point, type, source };
        return true;
}

int zp_mount_table_read(struct zp_mount_table **out, struct zp_error *err) {
        zp_auto(zp_mount_table_free) struct zp_mount_table *table = calloc(1, sizeof *table);
        if (!table)
                return zp_error_errno(err, ENOMEM, "read the mount table");
        int r = zp_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &table->text, NULL, err);
        if (r < 0)
                return r;
        size_t lines = 1;
        for (const char *c = table->text; *c; c++)
                lines += *c == '\n';
        table->mounts = calloc(lines, sizeof *table->mounts);
        if (!table->mounts)
                return zp_error_errno(err, ENOMEM, "read the mount table");
        char *rest = table->text;
        for (char *line; (line = strsep(&rest, "\n"));)
                table->count += parse_line(line, &table->mounts[table->count]);
        *out = zp_steal(&table);
        return 0;
}

void zp_mount_table_free(struct zp_mount_table *table) {
        if (!table)
                return;
        free(table->mounts);
        free(table->text);
        free(table);
}

const struct zp_mount *zp_mount_table_find(const struct zp_mount_table *table, const char *directory) {
        for (size_t i = table->count; i-- > 0;)
                if (strcmp(table->mounts[i].point, directory) == 0)
                        return &table->mounts[i];
        return NULL;
}
