/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/link.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SPACE " \t"

/* Whether the relation types in a "rel" value, separated by spaces, have "next". */
static bool is_next(const char *value, size_t size) {
        for (const char *end = value + size; value < end;) {
                size_t word = 0;
                while (value + word < end && !strchr(SPACE, value[word]))
                        word++;
                if (word == 4 && strncasecmp(value, "next", 4) == 0)
                        return true;
                value += word + 1;
        }
        return false;
}

/* Reads `; name[=value]` at *p; false: the parameters of this link end here. */
static bool read_parameter(const char **p, bool *is_rel_next) {
        *p += strspn(*p, SPACE);
        if (**p != ';')
                return false;
        *p += 1 + strspn(*p + 1, SPACE);
        const char *name = *p, *value;
        size_t name_size = strcspn(name, SPACE "=;,"), value_size;
        *p += name_size + strspn(name + name_size, SPACE);
        if (**p != '=')
                return true;
        *p += 1 + strspn(*p + 1, SPACE);
        if (**p == '"') {
                value = ++*p;
                value_size = strcspn(value, "\""); /* a relation has no quoted pairs */
                *p += value_size + (value[value_size] == '"');
        } else {
                value = *p;
                value_size = strcspn(value, SPACE ";,");
                *p += value_size;
        }
        if (name_size == 3 && strncasecmp(name, "rel", 3) == 0)
                *is_rel_next = *is_rel_next || is_next(value, value_size);
        return true;
}

int zp_link_next(const char *header, char **out, struct zp_error *err) {
        *out = NULL;
        for (const char *p = header ? header : "";;) {
                p += strspn(p, SPACE ",");
                if (*p == '\0')
                        return 0;
                if (*p != '<')
                        return zp_error_set(err, EBADMSG, "Link: '%.200s' is malformed", header);
                const char *target = ++p;
                size_t size = strcspn(target, ">");
                if (target[size] != '>')
                        return zp_error_set(err, EBADMSG, "Link: '%.200s' is malformed", header);
                bool is_rel_next = false;
                p += size + 1;
                while (read_parameter(&p, &is_rel_next))
                        ;
                if (is_rel_next) {
                        *out = strndup(target, size);
                        return *out ? 0 : zp_error_errno(err, ENOMEM, "Link");
                }
                p += strspn(p, SPACE);
                if (*p != '\0' && *p != ',')
                        return zp_error_set(err, EBADMSG, "Link: '%.200s' is malformed", header);
        }
}
