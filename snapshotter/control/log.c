/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"

static const char *const names[] = { "debug", "info", "warn", "error" };
static _Atomic(enum snap_log_level) lowest = SNAP_LOG_INFO;

static const char *own_part;

void snap_log_set_part(const char *part) {
        own_part = part;
}

void snap_log_set_level(enum snap_log_level level) {
        lowest = level;
}

bool snap_log_parse_level(const char *text, enum snap_log_level *out) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++)
                if (strcmp(names[i], text) == 0) {
                        *out = (enum snap_log_level) i;
                        return true;
                }
        return false;
}

static bool must_be_quoted(const char *value) {
        for (const char *p = value; *p; p++)
                if ((unsigned char) *p <= ' ' || *p == '"' || *p == '=' || *p == '\\' || *p == 0x7f)
                        return true;
        return *value == '\0';
}

static void add_value(struct zp_buffer *line, const char *value) {
        if (!must_be_quoted(value)) {
                zp_buffer_text(line, value);
                return;
        }
        zp_buffer_text(line, "\"");
        for (const char *p = value; *p; p++) {
                char text[8] = { *p };
                if (*p == '"' || *p == '\\')
                        snprintf(text, sizeof text, "\\%c", *p);
                else if (*p == '\n')
                        strcpy(text, "\\n");
                else if ((unsigned char) *p < ' ' || *p == 0x7f)
                        snprintf(text, sizeof text, "\\x%02x", (unsigned char) *p);
                zp_buffer_text(line, text);
        }
        zp_buffer_text(line, "\"");
}

static void add_time(struct zp_buffer *line) {
        struct timespec now;
        struct tm utc;
        char text[64], full[96];
        clock_gettime(CLOCK_REALTIME, &now);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &utc));
        snprintf(full, sizeof full, "time=%s.%03ldZ", text, now.tv_nsec / 1000000);
        zp_buffer_text(line, full);
}

void snap_log_event(enum snap_log_level level, const char *message, ...) {
        if (level < lowest)
                return;
        zp_autobuffer struct zp_buffer line = { 0 };
        add_time(&line);
        zp_buffer_text(&line, " level=");
        zp_buffer_text(&line, names[level]);
        if (own_part) {
                zp_buffer_text(&line, " part=");
                zp_buffer_text(&line, own_part);
        }
        zp_buffer_text(&line, " msg=");
        add_value(&line, message);
        va_list args;
        va_start(args, message);
        for (const char *name; (name = va_arg(args, const char *));) {
                const char *value = va_arg(args, const char *);
                if (!value)
                        continue;
                zp_buffer_text(&line, " ");
                zp_buffer_text(&line, name);
                zp_buffer_text(&line, "=");
                add_value(&line, value);
        }
        va_end(args);
        zp_buffer_text(&line, "\n");
        /* a log that cannot be written has nobody to be told */
        if (line.data && write(STDERR_FILENO, line.data, line.size) < 0)
                return;
}
