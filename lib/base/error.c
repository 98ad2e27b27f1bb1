/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "base/utf8.h"

static void make_harmless(char *text) {
        zp_utf8_mend(text);
        zp_replace_controls(text, strlen(text), "");
}

__attribute__((format(printf, 3, 0))) static void format_message(struct zp_error *err, int code, const char *format,
                                                                 va_list args) {
        err->code = code;
        err->hint[0] = '\0';
        vsnprintf(err->message, sizeof err->message, format, args);
}

int zp_error_set(struct zp_error *err, int code, const char *format, ...) {
        if (err) {
                va_list args;
                va_start(args, format);
                format_message(err, code, format, args);
                va_end(args);
                make_harmless(err->message);
        }
        return -code;
}

int zp_error_errno(struct zp_error *err, int code, const char *format, ...) {
        if (err) {
                va_list args;
                va_start(args, format);
                format_message(err, code, format, args);
                va_end(args);
                size_t used = strlen(err->message);
                char reason[128];
                snprintf(err->message + used, sizeof err->message - used, ": %s",
                         strerror_r(code, reason, sizeof reason));
                make_harmless(err->message);
        }
        return -code;
}

int zp_error_wrap(struct zp_error *err, const char *format, ...) {
        if (!err)
                return -EIO;
        char inner[ZP_ERROR_MESSAGE_MAX];
        memcpy(inner, err->message, sizeof inner);
        va_list args;
        va_start(args, format);
        vsnprintf(err->message, sizeof err->message, format, args);
        va_end(args);
        size_t used = strlen(err->message);
        snprintf(err->message + used, sizeof err->message - used, ": %s", inner);
        make_harmless(err->message);
        return err->code ? -err->code : -EIO;
}

void zp_error_hint(struct zp_error *err, const char *format, ...) {
        if (!err || err->hint[0])
                return;
        va_list args;
        va_start(args, format);
        vsnprintf(err->hint, sizeof err->hint, format, args);
        va_end(args);
        make_harmless(err->hint);
}

void zp_error_clear(struct zp_error *err) {
        *err = (struct zp_error){ 0 };
}
