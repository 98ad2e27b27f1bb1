/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/usage.h"

#include <string.h>

#include "base/typo.h"

#define HELP_COLUMN 32

const struct cli_option cli_global_options[] = {
        [CLI_GLOBAL_STORE] = { "store", 0, "DIR", "where the store is (default: see zeropull(1))" },
        [CLI_GLOBAL_JSON] = { "json", 0, NULL, "print the result as JSON" },
        [CLI_GLOBAL_QUIET] = { "quiet", 'q', NULL, "say nothing but errors" },
        [CLI_GLOBAL_HELP] = { "help", 'h', NULL, "show this help" },
        [CLI_GLOBAL_VERSION] = { "version", 0, NULL, "show the version" },
        [CLI_GLOBAL_COUNT] = { 0 },
};

const struct cli_command *cli_find_command(const char *name) {
        for (const struct cli_command *const *c = cli_commands; *c; c++)
                if (strcmp((*c)->name, name) == 0)
                        return *c;
        return NULL;
}

static void print_options(FILE *out, const struct cli_option *options) {
        for (; options && options->name; options++) {
                char left[64];
                const char *gap = options->argument && options->argument[0] != '[' ? " " : "";
                snprintf(left, sizeof left, "  %c%c%s --%s%s%s", options->letter ? '-' : ' ',
                         options->letter ? options->letter : ' ', options->letter ? "," : " ", options->name, gap,
                         options->argument ? options->argument : "");
                fprintf(out, "%-*s %s\n", HELP_COLUMN, left, options->help);
        }
}

void cli_print_help(FILE *out) {
        fputs("Usage: zeropull [OPTION...] COMMAND [ARGUMENT...]\n\n"
              "Makes block-device snapshots of container images, and uses them.\n\nCommands:\n",
              out);
        for (const struct cli_command *const *c = cli_commands; *c; c++)
                fprintf(out, "  %-10s %s\n", (*c)->name, (*c)->summary);
        fputs("\nOptions:\n", out);
        print_options(out, cli_global_options);
        fputs("\nExample:\n  zeropull build docker://registry.example/web:3\n\n"
              "'zeropull COMMAND --help' tells about one of them.\n",
              out);
}

void cli_print_command_help(FILE *out, const struct cli_command *command) {
        fprintf(out, "Usage: zeropull %s [OPTION...]%s%s\n\n%s.\n", command->name, command->arguments[0] ? " " : "",
                command->arguments, command->summary);
        fputs("\nOptions:\n", out);
        print_options(out, command->options);
        print_options(out, cli_global_options);
        fprintf(out, "\nExample:\n  %s\n", command->example);
}

struct guess {
        const char *text, *best;
        unsigned best_distance;
};

static void consider(struct guess *guess, const char *candidate) {
        unsigned d = zp_typo_distance(guess->text, strlen(guess->text), candidate, strlen(candidate));
        if (d < guess->best_distance) {
                guess->best_distance = d;
                guess->best = candidate;
        }
}

static struct guess start_guess(const char *text) {
        /* a slip, not another word: one letter, in longer words two */
        return (struct guess){ .text = text, .best_distance = strlen(text) < 5 ? 2 : 3 };
}

const char *cli_guess_command(const char *text) {
        /* what other tools call them */
        static const char *const others[][2] = { { "images", "list" },    { "rm", "remove" },     { "rmi", "remove" },
                                                 { "unmount", "umount" }, { "convert", "build" }, { "gc", "prune" },
                                                 { "check", "verify" } };
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                if (strcmp(text, others[i][0]) == 0)
                        return others[i][1];
        struct guess guess = start_guess(text);
        for (const struct cli_command *const *c = cli_commands; *c; c++)
                consider(&guess, (*c)->name);
        return guess.best;
}

const char *cli_guess_option(const struct cli_command *command, const char *text) {
        struct guess guess = start_guess(text);
        for (const struct cli_option *o = command ? command->options : NULL; o && o->name; o++)
                consider(&guess, o->name);
        for (const struct cli_option *o = cli_global_options; o->name; o++)
                consider(&guess, o->name);
        return guess.best;
}
