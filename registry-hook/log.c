/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/text.h"
#include "registry-hook/clock.h"

#define SELDOM_MS 1000

static _Atomic int loudest = HOOK_LOG_INFO;

void hook_log_set_level(enum hook_log_level level) {
        atomic_store(&loudest, level);
}

void hook_log_clean(char *text) {
        zp_replace_controls(text, strlen(text), "");
}

void hook_log(enum hook_log_level level, const char *format, ...) {
        char text[2048];
        va_list args;
        if ((int) level > atomic_load(&loudest))
                return;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        hook_log_clean(text);
        if (getenv("JOURNAL_STREAM"))
                fprintf(stderr, "<%d>%s\n", level, text);
        else
                fprintf(stderr, "zeropull-hook: %s\n", text);
}

void hook_log_seldom(struct hook_log_quota *quota, enum hook_log_level level, const char *format, ...) {
        char text[1024];
        long long now = hook_monotonic_ms(), next = atomic_load(&quota->next_ms);
        va_list args;
        if (now < next || !atomic_compare_exchange_strong(&quota->next_ms, &next, now + SELDOM_MS)) {
                atomic_fetch_add(&quota->left_out, 1);
                return;
        }
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        unsigned left_out = atomic_exchange(&quota->left_out, 0);
        if (left_out)
                hook_log(level, "%s (and %u lines alike before)", text, left_out);
        else
                hook_log(level, "%s", text);
}
