/* SPDX-License-Identifier: Apache-2.0
 *
 * The values of options.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "cli/cli.h"

static int bad_value(struct cli_call *call, int option, const char *what, struct zp_error *err) {
        return cli_usage_error(call, err, "--%s '%s': %s", call->command->options[option].name, call->values[option],
                               what);
}

static int parse(struct cli_call *call, int option, bool with_unit, uint64_t min, uint64_t max, uint64_t *out,
                 struct zp_error *err) {
        const char *text = call->values[option];
        if (!text)
                return 0;
        char *end = NULL, what[100];
        errno = 0;
        unsigned long long value = strtoull(text, &end, 10);
        bool is_good = text[0] >= '0' && text[0] <= '9' && errno == 0;
        static const char units[] = "KMG";
        const char *unit = with_unit && *end ? strchr(units, *end) : NULL;
        if (is_good && unit) {
                uint64_t factor = UINT64_C(1) << (10 * (unit - units + 1));
                is_good = !zp_mul_overflows(value, factor, &value);
                end++;
        }
        if (is_good && *end == '\0' && value >= min && value <= max) {
                *out = value;
                return 0;
        }
        snprintf(what, sizeof what, "a number from %llu to %llu is wanted", (unsigned long long) min,
                 (unsigned long long) max);
        return bad_value(call, option, what, err);
}

int cli_value_number(struct cli_call *call, int option, uint64_t min, uint64_t max, uint64_t *out,
                     struct zp_error *err) {
        return parse(call, option, false, min, max, out, err);
}

int cli_value_size(struct cli_call *call, int option, uint64_t min, uint64_t max, uint64_t *out, struct zp_error *err) {
        return parse(call, option, true, min, max, out, err);
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
