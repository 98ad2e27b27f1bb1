/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of a program with one table of options, and how it says what is wrong.
 */
#ifndef ZP_BASE_OPTIONS_H
#define ZP_BASE_OPTIONS_H

#include <stddef.h>
#include <stdio.h>

#include "base/error.h"

#define ZP_OPTIONS_MAX 32

struct zp_option {
        const char *name;     /* "config", for --config */
        const char *argument; /* what help calls its value; NULL: it has none */
        const char *help;
        char letter; /* 'q', for -q; 0: none */
};

/* values[i]: what options[i] was given, the last time; "" when it has no value; NULL: it is not there. Returns the
 * place in argv of the first word that is no option; -EINVAL: the message says which word is wrong. argv is put in that
 * order, and getopt_long(3)'s own variables are used: once, when a program begins. */
int zp_options_read(const struct zp_option *options, size_t count, int argc, char **argv, const char **values,
                    struct zp_error *err);
/* A line of help for each. */
void zp_options_print(FILE *out, const struct zp_option *options, size_t count);

/* "PROGRAM: message" on stderr, and the hint in a line of its own. Returns `code`, an exit status. */
int zp_complain(const char *program, const struct zp_error *err, int code);

#endif
