/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of options.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"

static int bad_value(struct cli_call *call, int option, const char *what, struct zp_error *err) {
        return cli_usage_error(call, err, "--%s '%s': %s", call->command->options[option].name, call->values[option],
                               what);
}

/* Digits alone, without sign or space. */
static bool parse_digits(const char *text, uint64_t *out, const char **end) {
        char *after = NULL;
        errno = 0;
        *out = strtoull(text, &after, 10);
        *end = after;
        return text[0] >= '0' && text[0] <= '9' && errno == 0;
}

int cli_value_number(struct cli_call *call, int option, uint64_t min, uint64_t max, uint64_t *out,
                     struct zp_error *err) {
        const char *text = call->values[option], *end;
        uint64_t value;
        char what[100];
        if (!text)
                return 0;
        if (parse_digits(text, &value, &end) && !*end && value >= min && value <= max) {
                *out = value;
                return 0;
        }
        snprintf(what, sizeof what, "a number from %" PRIu64 " to %" PRIu64 " is wanted", min, max);
        return bad_value(call, option, what, err);
}

static const char units[] = "KMG";

/* As a person would type it. */
static const char *size_text(uint64_t size, char text[32]) {
        size_t unit = 0;
        for (; unit < strlen(units) && size && size % 1024 == 0; unit++)
                size /= 1024;
        snprintf(text, 32, unit ? "%" PRIu64 "%c" : "%" PRIu64, size, unit ? units[unit - 1] : 0);
        return text;
}

static bool parse_size(const char *text, uint64_t *out) {
        const char *end;
        if (!parse_digits(text, out, &end))
                return false;
        const char *unit = *end ? strchr(units, toupper((unsigned char) *end)) : NULL;
        if (unit && zp_mul_overflows(*out, UINT64_C(1) << (10 * (unit - units + 1)), out))
                return false;
        return end[unit ? 1 : 0] == '\0';
}

int cli_value_size(struct cli_call *call, int option, uint64_t step, uint64_t max, uint64_t *out,
                   struct zp_error *err) {
        const char *text = call->values[option];
        uint64_t value;
        char what[100], least[32], most[32];
        if (!text)
                return 0;
        if (parse_size(text, &value) && value && value % step == 0 && value <= max) {
                *out = value;
                return 0;
        }
        snprintf(what, sizeof what, "a multiple of %" PRIu64 " from %s to %s is wanted", step, size_text(step, least),
                 size_text(max, most));
        return bad_value(call, option, what, err);
}

int cli_file_failed(struct cli_call *call, int r) {
        if (r < 0 && call->exit_code == CLI_DONE)
                call->exit_code = CLI_FAILED;
        return r;
}

int cli_value_bool(struct cli_call *call, int option, bool *out, struct zp_error *err) {
        static const char *const yes[] = { "true", "yes", "on", "1" }, *const no[] = { "false", "no", "off", "0" };
        const char *text = call->values[option];
        if (!text)
                return 0;
        for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
                if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
                        *out = strcmp(text, yes[i]) == 0;
                        return 0;
                }
        return bad_value(call, option, "true or false is wanted", err);
}
