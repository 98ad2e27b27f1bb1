/* SPDX-License-Identifier: Apache-2.0 */
#include "base/options.h"

#include <assert.h>
#include <getopt.h>

#define FIRST 256 /* beyond all letters */

static size_t by_letter(const struct zp_option *options, size_t count, int letter) {
        size_t i = 0;
        while (i < count && options[i].letter != letter)
                i++;
        return i;
}

int zp_options_read(const struct zp_option *options, size_t count, int argc, char **argv, const char **values,
                    struct zp_error *err) {
        struct option longs[ZP_OPTIONS_MAX + 1] = { 0 };
        char letters[2 * ZP_OPTIONS_MAX + 2] = ":", *end = letters + 1;
        assert(count <= ZP_OPTIONS_MAX);
        for (size_t i = 0; i < count; i++) {
                int kind = options[i].argument ? required_argument : no_argument;
                values[i] = NULL;
                longs[i] = (struct option){ options[i].name, kind, NULL, FIRST + (int) i };
                if (options[i].letter)
                        *end++ = options[i].letter;
                if (options[i].letter && options[i].argument)
                        *end++ = ':';
        }
        opterr = 0;
        for (int found; (found = getopt_long(argc, argv, letters, longs, NULL)) != -1;) {
                const char *what = found == ':' ? "a value is missing" : "unknown option";
                if ((found == '?' || found == ':') && optopt > 0 && optopt < FIRST) /* a letter, perhaps of several */
                        return zp_error_set(err, EINVAL, "%s: -%c", what, optopt);
                if (found == '?' || found == ':')
                        return zp_error_set(err, EINVAL, "%s: %s", what, argv[optind - 1]);
                size_t i = found >= FIRST ? (size_t) (found - FIRST) : by_letter(options, count, found);
                values[i] = optarg ? optarg : "";
        }
        return optind;
}

void zp_options_print(FILE *out, const struct zp_option *options, size_t count) {
        for (size_t i = 0; i < count; i++) {
                char left[40];
                snprintf(left, sizeof left, "      --%s%s%s", options[i].name, options[i].argument ? " " : "",
                         options[i].argument ? options[i].argument : "");
                fprintf(out, "%-30s %s\n", left, options[i].help);
        }
}

int zp_complain(const char *program, const struct zp_error *err, int code) {
        fprintf(stderr, "%s: %s\n", program, err->message);
        if (err->hint[0])
                fprintf(stderr, "  hint: %s\n", err->hint);
        return code;
}
