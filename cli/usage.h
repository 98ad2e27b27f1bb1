/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line as text: help out of the tables, and a guess at what was meant.
 */
#ifndef ZP_CLI_USAGE_H
#define ZP_CLI_USAGE_H

#include <stdio.h>

#include "cli/cli.h"

/* Options every command takes; ends with one without a name. */
enum { CLI_GLOBAL_STORE, CLI_GLOBAL_JSON, CLI_GLOBAL_QUIET, CLI_GLOBAL_HELP, CLI_GLOBAL_VERSION, CLI_GLOBAL_COUNT };
extern const struct cli_option cli_global_options[];

const struct cli_command *cli_find_command(const char *name);
void cli_print_help(FILE *out);
void cli_print_command_help(FILE *out, const struct cli_command *command);

/* The command or long option that `text` is most likely a slip of, or NULL. `command` may be NULL: then only
 * options that every command takes. */
const char *cli_guess_command(const char *text);
const char *cli_guess_option(const struct cli_command *command, const char *text);

#endif
