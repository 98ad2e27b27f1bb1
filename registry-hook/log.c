/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Atomic int loudest = HOOK_LOG_INFO;

void hook_log_set_level(enum hook_log_level level) {
        atomic_store(&loudest, level);
}

void hook_log(enum hook_log_level level, const char *format, ...) {
        char text[2048];
        va_list args;
        if ((int) level > atomic_load(&loudest))
                return;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        for (char *p = text; *p; p++)
                if ((unsigned char) *p < 0x20 || *p == 0x7f)
                        *p = '?';
        if (getenv("JOURNAL_STREAM"))
                fprintf(stderr, "<%d>%s\n", level, text);
        else
                fprintf(stderr, "zeropull-hook: %s\n", text);
}
