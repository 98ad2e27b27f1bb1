/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "base/cleanup.h"

/* The length of the UTF-8 sequence at `p` (RFC 3629), 0 when it is none; *out is the code point. */
static size_t utf8_sequence(const uint8_t *p, size_t size, uint32_t *out) {
        size_t length = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : 4;
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        if ((p[0] >= 0x80 && p[0] < 0xc2) || p[0] > 0xf4 || length > size)
                return 0;
        uint32_t code = length == 1 ? p[0] : p[0] & (0xffu >> (length + 1));
        for (size_t i = 1; i < length; i++) {
                if ((p[i] & 0xc0) != 0x80)
                        return 0;
                code = code << 6 | (p[i] & 0x3f);
        }
        if (code < smallest[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
                return 0;
        *out = code;
        return length;
}

static bool is_harmless(uint32_t code) {
        bool is_control = code < 0x20 || (code >= 0x7f && code < 0xa0);
        bool turns = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0x200e ||
                     code == 0x200f || code == 0x061c;
        bool breaks_line = code == 0x2028 || code == 0x2029;
        return !is_control && !turns && !breaks_line && code != '\\';
}

static void print_escape(FILE *out, uint8_t byte) {
        static const char letters[][2] = { { '\n', 'n' }, { '\t', 't' }, { '\r', 'r' }, { '\\', '\\' } };
        for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
                if (byte == (uint8_t) letters[i][0]) {
                        fprintf(out, "\\%c", letters[i][1]);
                        return;
                }
        fprintf(out, "\\%03o", byte);
}

void cli_print_escaped(FILE *out, const char *text, size_t size) {
        const uint8_t *p = (const uint8_t *) text;
        for (size_t step; size > 0; p += step, size -= step) {
                uint32_t code = 0;
                step = utf8_sequence(p, size, &code);
                if (step && is_harmless(code)) {
                        fwrite(p, 1, step, out);
                        continue;
                }
                step = step ? step : 1;
                for (size_t i = 0; i < step; i++)
                        print_escape(out, p[i]);
        }
}

struct cli_unit cli_size_unit(uint64_t bytes) {
        static const char *const names[] = { "B", "kB", "MB", "GB", "TB", "PB", "EB" };
        unsigned unit = 0;
        double value = (double) bytes, divisor = 1;
        /* 999.95 would print as 1000.0 */
        for (; value >= (unit ? 999.95 : 1000) && unit < sizeof names / sizeof *names - 1; unit++) {
                value /= 1000;
                divisor *= 1000;
        }
        return (struct cli_unit){ divisor, unit ? 1 : 0, names[unit] };
}

char *cli_size_text(uint64_t bytes, char text[CLI_SIZE_TEXT]) {
        struct cli_unit unit = cli_size_unit(bytes);
        snprintf(text, CLI_SIZE_TEXT, "%.*f %s", unit.decimals, (double) bytes / unit.divisor, unit.name);
        return text;
}

char *cli_age_text(int64_t then_s, int64_t now_s, char text[CLI_AGE_TEXT]) {
        static const struct {
                int64_t seconds;
                const char *name;
        } units[] = { { 365 * 86400, "year" }, { 30 * 86400, "month" }, { 7 * 86400, "week" },
                      { 86400, "day" },        { 3600, "hour" },        { 60, "minute" } };
        int64_t age = now_s > then_s ? now_s - then_s : 0;
        for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
                int64_t count = age / units[i].seconds;
                if (count > 0) {
                        snprintf(text, CLI_AGE_TEXT, "%" PRId64 " %s%s ago", count, units[i].name,
                                 count > 1 ? "s" : "");
                        return text;
                }
        }
        snprintf(text, CLI_AGE_TEXT, "just now");
        return text;
}

char *cli_time_text(int64_t time_s, char text[CLI_TIME_TEXT]) {
        time_t seconds = (time_t) time_s;
        struct tm parts;
        if (!gmtime_r(&seconds, &parts) || strftime(text, CLI_TIME_TEXT, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0)
                snprintf(text, CLI_TIME_TEXT, "@%" PRId64, time_s);
        return text;
}

char *cli_short_digest(const struct zp_digest *digest, char text[CLI_SHORT_DIGEST]) {
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_hex(digest, hex);
        memcpy(text, hex, CLI_SHORT_DIGEST - 1);
        text[CLI_SHORT_DIGEST - 1] = '\0';
        return text;
}

json_t *cli_json_text(const char *text, size_t size) {
        json_t *plain = json_stringn(text, size);
        if (plain)
                return plain;
        zp_autofree char *clean = malloc(size * 3 + 1);
        if (!clean)
                return NULL;
        const uint8_t *p = (const uint8_t *) text;
        size_t used = 0;
        for (size_t step; size > 0; p += step, size -= step) {
                uint32_t code;
                step = utf8_sequence(p, size, &code);
                memcpy(clean + used, step ? (const char *) p : "\xef\xbf\xbd", step ? step : 3);
                used += step ? step : 3;
                step = step ? step : 1;
        }
        return json_stringn(clean, used);
}

json_t *cli_json_digest(const struct zp_digest *digest) {
        char text[ZP_DIGEST_TEXT_SIZE];
        return json_string(zp_digest_text(digest, text));
}

bool cli_json_set(json_t *object, const char *key, json_t *value) {
        return json_object_set_new(object, key, value) == 0;
}

int cli_print_json(json_t *document, struct zp_error *err) {
        if (!document)
                return zp_error_errno(err, ENOMEM, "JSON output");
        /* what goes wrong with stdout, cli_finish_output tells */
        json_dumpf(document, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
        putchar('\n');
        json_decref(document);
        return 0;
}

int cli_finish_output(struct zp_error *err) {
        errno = 0;
        if (fflush(stdout) == 0 && !ferror(stdout))
                return 0;
        /* an earlier write failed, and its errno is gone: a pipe that nobody reads can be told from a full disk */
        struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
        int code = errno ? errno : poll(&out, 1, 0) == 1 && (out.revents & POLLERR) ? EPIPE : EIO;
        return zp_error_errno(err, code, "write to standard output");
}
