/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/notice.h"

#include <stdarg.h>
#include <stdio.h>

void zp_notice_tell(const struct zp_notice *notice, const char *format, ...) {
        char text[1024];
        if (!notice->tell)
                return;
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        notice->tell(notice->context, text);
}
