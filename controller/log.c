/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/text.h"

void ctl_log(enum ctl_log_level level, const char *format, ...) {
        char text[2048];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        zp_replace_controls(text, strlen(text), "");
        if (getenv("JOURNAL_STREAM"))
                fprintf(stderr, "<%d>%s\n", level, text);
        else
                fprintf(stderr, "%s: %s\n", program_invocation_short_name, text);
}
