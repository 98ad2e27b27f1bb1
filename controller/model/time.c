/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/model/time.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DURATION_MAX (INT64_C(100) * 366 * 24 * 3600)

bool ctl_parse_duration(const char *text, int64_t *seconds) {
        int64_t total = 0;
        if (!*text)
                return false;
        while (*text) {
                size_t digits = strspn(text, "0123456789");
                char unit = text[digits];
                int64_t factor = unit == 'h' ? 3600 : unit == 'm' ? 60 : unit == 's' ? 1 : 0;
                if (digits == 0 || digits > 10 || factor == 0)
                        return false;
                total += strtoll(text, NULL, 10) * factor;
                if (total > DURATION_MAX)
                        return false;
                text += digits + 1;
        }
        *seconds = total;
        return true;
}

/* "Z" or "+01:00", in seconds east of Greenwich; the text ends behind it. */
static bool parse_offset(const char *text, int64_t *offset) {
        int hours, minutes, end = 0;
        *offset = 0;
        if (strcmp(text, "Z") == 0)
                return true;
        if ((text[0] != '+' && text[0] != '-') || sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &end) != 2 ||
            end != 5 || text[6] || hours > 23 || minutes > 59)
                return false;
        *offset = (hours * 3600 + minutes * 60) * (text[0] == '-' ? -1 : 1);
        return true;
}

bool ctl_parse_time(const char *text, int64_t *seconds) {
        struct tm tm = { 0 };
        int64_t offset;
        const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
        if (!rest)
                return false;
        if (*rest == '.') {
                size_t digits = strspn(rest + 1, "0123456789");
                if (digits == 0)
                        return false;
                rest += 1 + digits;
        }
        if (!parse_offset(rest, &offset))
                return false;
        *seconds = (int64_t) timegm(&tm) - offset;
        return true;
}

char *ctl_time_text(int64_t seconds, char text[CTL_TIME_SIZE]) {
        time_t time = (time_t) seconds;
        struct tm tm;
        if (seconds == 0 || !gmtime_r(&time, &tm) || strftime(text, CTL_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
                text[0] = '\0';
        return text;
}
