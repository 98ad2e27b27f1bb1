/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull` command: finds the command's row, parses options by it, runs it, prints its error.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "cli/cli.h"
#include "cli/hint.h"
#include "cli/interrupt.h"
#include "cli/output.h"
#include "cli/usage.h"
#include "store/store.h"

const struct cli_command *const cli_commands[] = { &cli_build,  &cli_list,  &cli_inspect, &cli_ls,     &cli_cat,
                                                   &cli_verify, &cli_mount, &cli_umount,  &cli_export, &cli_attach,
                                                   &cli_remove, &cli_prune, &cli_profile, &cli_push,   &cli_pull,
                                                   &cli_rpull,  &cli_key,   &cli_status,  &cli_help,   NULL };

int cli_usage_error(struct cli_call *call, struct zp_error *err, const char *format, ...) {
        char message[ZP_ERROR_MESSAGE_MAX];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        call->exit_code = CLI_USAGE;
        zp_error_set(err, EINVAL, "%s", message);
        if (call->command)
                zp_error_hint(err, "usage: zeropull %s [OPTION...]%s%s", call->command->name,
                              call->command->arguments[0] ? " " : "", call->command->arguments);
        else
                zp_error_hint(err, "usage: zeropull [OPTION...] COMMAND [ARGUMENT...]; 'zeropull help' lists commands");
        return -EINVAL;
}

static void guessed(struct zp_error *err, const char *prefix, const char *guess) {
        char hint[ZP_ERROR_HINT_MAX];
        if (!guess)
                return;
        snprintf(hint, sizeof hint, "did you mean '%s%s'? %.300s", prefix, guess, err->hint);
        err->hint[0] = '\0';
        zp_error_hint(err, "%s", hint);
}

#define OPTIONS_MAX (CLI_OPTIONS_MAX + CLI_GLOBAL_COUNT)
/* What getopt_long returns: options are told by a number, beyond all letters. */
#define FIRST_OPTION 256

struct parser {
        const struct cli_option *options[OPTIONS_MAX];
        struct option longs[OPTIONS_MAX + 1];
        char letters[2 * OPTIONS_MAX + 3];
        int count, globals_at;
        const char *values[OPTIONS_MAX];
        struct cli_given given[CLI_GIVEN_MAX];
        int given_count;
};

static int argument_kind(const struct cli_option *option) {
        return !option->argument ? no_argument : option->argument[0] == '[' ? optional_argument : required_argument;
}

static void add_options(struct parser *p, const struct cli_option *options) {
        for (; options && options->name; options++) {
                p->options[p->count] = options;
                p->longs[p->count] =
                        (struct option){ options->name, argument_kind(options), NULL, FIRST_OPTION + p->count };
                p->count++;
                if (!options->letter)
                        continue;
                size_t used = strlen(p->letters);
                p->letters[used] = options->letter;
                p->letters[used + 1] = options->argument ? ':' : '\0';
        }
}

static int bad_option(struct cli_call *call, const struct parser *p, int kind, const char *text, struct zp_error *err) {
        if (kind == ':')
                return cli_usage_error(call, err, "option '%s' wants a value", text);
        if (optopt >= FIRST_OPTION)
                return cli_usage_error(call, err, "option '--%s' takes no value",
                                       p->options[optopt - FIRST_OPTION]->name);
        if (optopt)
                return cli_usage_error(call, err, "unknown option '-%c'", optopt);
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int) strcspn(text + 2, "="), text + 2);
        cli_usage_error(call, err, "unknown option '--%s'", name);
        guessed(err, "--", cli_guess_option(call->command, name));
        return -EINVAL;
}

static int parse_options(struct cli_call *call, struct parser *p, int argc, char **argv, struct zp_error *err) {
        opterr = 0;
        for (int kind; (kind = getopt_long(argc, argv, p->letters, p->longs, NULL)) != -1;) {
                if (kind == '?' || kind == ':')
                        return bad_option(call, p, kind, argv[optind - 1], err);
                int option = kind - FIRST_OPTION;
                if (kind < FIRST_OPTION)
                        for (option = 0; p->options[option]->letter != kind;)
                                option++;
                p->values[option] = optarg ? optarg : "";
                if (p->given_count == CLI_GIVEN_MAX)
                        return cli_usage_error(call, err, "more than %d options", CLI_GIVEN_MAX);
                p->given[p->given_count++] = (struct cli_given){ option, p->values[option] };
        }
        return 0;
}

static void take_globals(struct cli_call *call, const char *const *values) {
        if (values[CLI_GLOBAL_STORE])
                call->store = values[CLI_GLOBAL_STORE];
        call->json |= values[CLI_GLOBAL_JSON] != NULL;
        call->quiet |= values[CLI_GLOBAL_QUIET] != NULL;
}

/* 1: the command line asked only for help or the version, which was printed. */
static int answered(const struct cli_call *call, const char *const *globals) {
        if (globals[CLI_GLOBAL_HELP] && call->command)
                cli_print_command_help(stdout, call->command);
        else if (globals[CLI_GLOBAL_HELP])
                cli_print_help(stdout);
        else if (globals[CLI_GLOBAL_VERSION])
                puts("zeropull " ZP_VERSION);
        else
                return 0;
        return 1;
}

/* Options before the command. Leaves `optind` at the command. */
static int parse_front(struct cli_call *call, int argc, char **argv, struct zp_error *err) {
        struct parser p = { .letters = "+:" };
        add_options(&p, cli_global_options);
        int r = parse_options(call, &p, argc, argv, err);
        if (r < 0)
                return r;
        take_globals(call, p.values);
        if (answered(call, p.values))
                return 1;
        if (optind == argc) {
                cli_print_help(stderr);
                call->exit_code = CLI_USAGE;
                return 1;
        }
        call->command = cli_find_command(argv[optind]);
        if (call->command)
                return 0;
        cli_usage_error(call, err, "unknown command '%s'", argv[optind]);
        guessed(err, "", cli_guess_command(argv[optind]));
        return -EINVAL;
}

static int parse_command(struct cli_call *call, int argc, char **argv, struct zp_error *err) {
        struct parser p = { .letters = ":" };
        add_options(&p, call->command->options);
        int own = p.count;
        add_options(&p, cli_global_options);
        optind = 0; /* makes getopt start over, with another order of arguments */
        int r = parse_options(call, &p, argc, argv, err);
        if (r < 0)
                return r;
        take_globals(call, p.values + own);
        if (answered(call, p.values + own))
                return 1;
        memcpy(call->values, p.values, (size_t) own * sizeof *p.values);
        memcpy(call->given, p.given, sizeof p.given);
        call->given_count = p.given_count;
        call->arguments = argv + optind;
        call->argument_count = argc - optind;
        if (call->argument_count < call->command->arguments_min)
                return cli_usage_error(call, err, "%s: an argument is missing", call->command->name);
        if (call->argument_count > call->command->arguments_max)
                return cli_usage_error(call, err, "%s: too many arguments, from '%s' on", call->command->name,
                                       call->arguments[call->command->arguments_max]);
        return 0;
}

static int run(struct cli_call *call, int argc, char **argv, struct zp_error *err) {
        int r = parse_front(call, argc, argv, err);
        if (r == 0) {
                argc -= optind;
                argv += optind;
                r = parse_command(call, argc, argv, err);
        }
        zp_autofree char *default_store = NULL;
        const char *given_store = call->store;
        if (r == 0 && !call->store) {
                call->is_default_store = true;
                call->store = default_store = zp_store_default_path();
                if (!default_store)
                        r = zp_error_errno(err, ENOMEM, "the store");
        }
        if (r == 0 && !*call->store)
                r = cli_usage_error(call, err, "--store: the directory's name is empty");
        if (r == 0)
                r = call->command->run(call, err);
        call->store = given_store; /* the other is freed */
        return r < 0 ? r : cli_finish_output(err);
}

static int exit_code_of(const struct cli_call *call, const struct zp_error *err) {
        int signal = cli_interrupt_signal();
        if (signal && err->code == ECANCELED)
                return 128 + signal;
        if (call->exit_code != CLI_DONE)
                return call->exit_code;
        switch (err->code) {
        case ENOENT:
                return CLI_NOT_FOUND;
        case EBADMSG: /* not what its digest says, or malformed */
                return CLI_REFUSED;
        default:
                return CLI_FAILED;
        }
}

/* Many small blobs travel at the same time, each with some descriptors: as many as the system gives, up to this. */
#define FILES_WANTED 2048

static void raise_file_limit(void) {
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_WANTED)
                return;
        limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
        (void) setrlimit(RLIMIT_NOFILE, &limit); /* else it takes longer */
}

/* What a shell says of a program that SIGPIPE ended. */
#define EXIT_BROKEN_PIPE 141

int main(int argc, char **argv) {
        struct cli_call call = { .cancel = cli_interrupt_setup() };
        struct zp_error err = { 0 };
        raise_file_limit();
        int r = run(&call, argc, argv, &err);
        if (r >= 0)
                return call.exit_code;
        if (err.code == EPIPE && cli_finish_output(NULL) == -EPIPE)
                return EXIT_BROKEN_PIPE;
        fflush(stdout);
        fprintf(stderr, "zeropull: %s\n", err.message);
        if (err.hint[0])
                cli_print_hint(stderr, err.hint, call.store);
        if (err.code == ENOSPC || err.code == EDQUOT)
                cli_print_hint(stderr,
                               "if it is the store's disk that is full: zeropull prune removes what no image uses",
                               call.store);
        return exit_code_of(&call, &err);
}
