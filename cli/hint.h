/* SPDX-License-Identifier: Apache-2.0
 *
 * What to do next, as a user can type it.
 */
#ifndef ZP_CLI_HINT_H
#define ZP_CLI_HINT_H

#include <stdio.h>

/* Prints the hint of an error. Commands in it name `store`, the one that was named on the command line; NULL: none. */
void cli_print_hint(FILE *out, const char *hint, const char *store);

/* A word of a command line as a shell reads it; malloc'ed. NULL: no memory, or a shell cannot be told in one line. */
char *cli_shell_word(const char *word);

#endif
