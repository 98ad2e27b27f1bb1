/* SPDX-License-Identifier: Apache-2.0
 *
 * What a command is: a table row with its options and one function. main.c parses the command line by the
 * row, calls the function, and is the one place that prints errors and chooses the exit code.
 */
#ifndef ZP_CLI_CLI_H
#define ZP_CLI_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cancel.h"
#include "base/cleanup.h"
#include "base/error.h"

/* Exit codes, as zeropull(1) has them. A command stopped by a signal exits with 128 + its number. */
enum cli_exit {
        CLI_DONE = 0,
        CLI_FAILED = 1,
        CLI_USAGE = 2,
        CLI_NOT_FOUND = 3,
        CLI_REFUSED = 4,   /* the image is malformed, ambiguous, past a limit, not an image, or not trusted */
        CLI_UNCHECKED = 5, /* verify: a source that an image had to be built from again could not be read */
};

struct cli_option {
        const char *name;
        char letter;          /* 0: none */
        const char *argument; /* NULL: a flag; "[=VALUE]": may be left out, then the value is "" */
        const char *help;
};

struct cli_call;

struct cli_command {
        const char *name;
        const char *arguments; /* "IMAGE [PATH]" */
        const char *summary;
        const char *example;
        const struct cli_option *options; /* NULL: none; ends with one without a name */
        int arguments_min, arguments_max;
        /* 0 or a negative errno with `err` filled. */
        int (*run)(struct cli_call *call, struct zp_error *err);
};

#define CLI_OPTIONS_MAX 32
/* Options on one command line. */
#define CLI_GIVEN_MAX 128
#define CLI_MANY 1000000

struct cli_call {
        const struct cli_command *command;
        const char *store;     /* the directory */
        bool is_default_store; /* nobody has named it */
        bool json, quiet;
        const char *values[CLI_OPTIONS_MAX]; /* by position in the command's options; "" for a flag; NULL: absent */
        struct cli_given {
                int option; /* position in the command's options */
                const char *value;
        } given[CLI_GIVEN_MAX]; /* each time one was given, for those that may be repeated: the last is in `values` */
        int given_count;
        char **arguments;
        int argument_count;
        const struct zp_cancel *cancel;
        enum cli_exit exit_code; /* chosen by the command; CLI_DONE: by the error's code */
};

/* All commands, in the order of the help; ends with NULL. */
extern const struct cli_command *const cli_commands[];

extern const struct cli_command cli_build, cli_list, cli_inspect, cli_ls, cli_cat, cli_verify, cli_mount, cli_umount,
        cli_export, cli_attach, cli_remove, cli_prune, cli_profile, cli_pull, cli_push, cli_rpull, cli_key, cli_status,
        cli_help;

static inline bool cli_flag(const struct cli_call *call, int option) {
        return call->values[option] != NULL;
}

/* Fills `err` and makes it exit code 2 with a pointer to the command's help. Returns -EINVAL. */
int cli_usage_error(struct cli_call *call, struct zp_error *err, const char *format, ...)
        __attribute__((format(printf, 3, 4)));

/* What became of a file of this machine that the command line names (a key, a profile, a directory to mount on): not
 * being there is exit code 1, for 3 is about images, sources and stores. Returns `r`. */
int cli_file_failed(struct cli_call *call, int r);

/* Values of options; usage errors name the option. The default is what *out holds when the option is absent. */
int cli_value_number(struct cli_call *call, int option, uint64_t min, uint64_t max, uint64_t *out,
                     struct zp_error *err);
/* Bytes with an optional K, M or G (powers of 1024): a multiple of `step`, not 0. */
int cli_value_size(struct cli_call *call, int option, uint64_t step, uint64_t max, uint64_t *out, struct zp_error *err);
int cli_value_bool(struct cli_call *call, int option, bool *out, struct zp_error *err);

#endif
