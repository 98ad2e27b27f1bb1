/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull help`.
 */
#include "cli/usage.h"

static int run(struct cli_call *call, struct zp_error *err) {
        if (call->argument_count == 0) {
                cli_print_help(stdout);
                return 0;
        }
        const struct cli_command *command = cli_find_command(call->arguments[0]);
        if (command) {
                cli_print_command_help(stdout, command);
                return 0;
        }
        const char *guess = cli_guess_command(call->arguments[0]);
        cli_usage_error(call, err, "unknown command '%s'", call->arguments[0]);
        if (guess) {
                err->hint[0] = '\0';
                zp_error_hint(err, "did you mean '%s'?", guess);
        }
        return -EINVAL;
}

const struct cli_command cli_help = {
        .name = "help",
        .arguments = "[COMMAND]",
        .summary = "Tell what a command does and takes",
        .example = "zeropull help build",
        .arguments_max = 1,
        .run = run,
};
