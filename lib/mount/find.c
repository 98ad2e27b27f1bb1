/* SPDX-License-Identifier: Apache-2.0
 *
 * What is mounted on a directory: /proc/self/mountinfo, see proc(5).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "mount/erofs_mount.h"

#define MOUNTINFO_MAX ((size_t) 64 << 20)
#define MOUNT_POINT_FIELD 4

/* Spaces, tabs, newlines and backslashes are written as \ooo. */
static void unescape(char *text) {
        char *to = text;
        for (const char *from = text; *from; to++) {
                unsigned value;
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && sscanf(from + 1, "%3o", &value) == 1 &&
                    strspn(from + 1, "01234567") >= 3) {
                        *to = (char) value;
                        from += 4;
                } else {
                        *to = *from++;
                }
        }
        *to = '\0';
}

/* Splits a line, "36 35 98:0 /root /point options … - type source options". */
static bool parse_line(char *line, char **point, char **type, char **source) {
        char *separator = strstr(line, " - ");
        if (!separator)
                return false;
        *separator = '\0';
        char *tail = separator + 3, *rest = line, *field = NULL;
        for (int i = 0; i <= MOUNT_POINT_FIELD; i++)
                field = strsep(&rest, " ");
        *point = field;
        *type = strsep(&tail, " ");
        *source = strsep(&tail, " ");
        if (!*point || !*type || !*source)
                return false;
        unescape(*point);
        unescape(*source);
        return true;
}

int zp_mount_find(const char *directory, struct zp_mount *out, struct zp_error *err) {
        zp_autofree char *path = realpath(directory, NULL), *text = NULL;
        if (!path)
                return zp_error_errno(err, errno, "'%s'", directory);
        int r = zp_read_file(AT_FDCWD, "/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL, err);
        if (r < 0)
                return r;
        char *rest = text, *point, *type = NULL, *source = NULL;
        for (char *line; (line = strsep(&rest, "\n"));) {
                char *this_type, *this_source;
                /* a later line lies above an earlier one */
                if (parse_line(line, &point, &this_type, &this_source) && strcmp(point, path) == 0) {
                        type = this_type;
                        source = this_source;
                }
        }
        if (!type)
                return zp_error_set(err, EINVAL, "'%s' is not a mount point", path);
        *out = (struct zp_mount){ strdup(type), strdup(source) };
        if (out->type && out->source)
                return 0;
        zp_mount_clear(out);
        return zp_error_errno(err, ENOMEM, "'%s'", path);
}

void zp_mount_clear(struct zp_mount *mount) {
        free(mount->type);
        free(mount->source);
        *mount = (struct zp_mount){ 0 };
}
