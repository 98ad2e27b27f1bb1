/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull-hook` command.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <fcntl.h>

#include "base/file.h"
#include "base/options.h"
#include "registry-hook/config.h"
#include "registry-hook/decide.h"
#include "registry-hook/log.h"
#include "registry-hook/serve.h"
#include "registry-hook/trigger.h"

#define TOKEN_MAX 4096

#define PROGRAM "zeropull-hook"

enum {
        OPTION_CONFIG,
        OPTION_STANDALONE,
        OPTION_LISTEN,
        OPTION_STATE,
        OPTION_BUILDER,
        OPTION_URL,
        OPTION_TOKEN_FILE,
        OPTION_CA_FILE,
        OPTION_FORCE,
        OPTION_TIMEOUT,
        OPTION_QUIET,
        OPTION_HELP,
        OPTION_VERSION,
        OPTIONS
};

static const struct zp_option options[OPTIONS] = {
        [OPTION_CONFIG] = { "config", "FILE", "the configuration (default: " HOOK_CONFIG_DEFAULT_PATH ")" },
        [OPTION_STANDALONE] = { "standalone", NULL, "no configuration: every image of registries on loopback" },
        [OPTION_LISTEN] = { "listen", "ADDRESS:PORT", "where to listen (default: 127.0.0.1:8480)" },
        [OPTION_STATE] = { "state", "DIR", "queue and store (default: see zeropull-hook(8))" },
        [OPTION_BUILDER] = { "builder", "FILE", "the zeropull program (default: beside this one)" },
        [OPTION_URL] = { "url", "URL", "trigger: the service (default: $ZEROPULL_HOOK_URL)" },
        [OPTION_TOKEN_FILE] = { "token-file", "FILE", "trigger: the token (default: $ZEROPULL_HOOK_TOKEN)" },
        [OPTION_CA_FILE] = { "ca-file", "FILE", "trigger: trust these certificate authorities" },
        [OPTION_FORCE] = { "force", NULL, "trigger: build what is published again" },
        [OPTION_TIMEOUT] = { "timeout", "SECONDS", "trigger: how long to wait (default: 3600)" },
        [OPTION_QUIET] = { "quiet", NULL, "say nothing but errors", 'q' },
        [OPTION_HELP] = { "help", NULL, "show this help", 'h' },
        [OPTION_VERSION] = { "version", NULL, "show the version" },
};

struct call {
        const char *values[OPTIONS]; /* "" for a flag; NULL: absent */
        int argument_count;
        char **arguments;
};

static const char *value(const struct call *call, int option) {
        return call->values[option];
}

static void print_help(void) {
        fputs("Usage: zeropull-hook [OPTION...] [COMMAND]\n\n"
              "Builds and publishes a snapshot when a marked image is pushed.\n\nCommands:\n"
              "  (none)          serve, until told to end\n"
              "  check-config    read the configuration and say whether it is in order\n"
              "  rules test REF  ask the registry about an image, and explain what the rules decide\n"
              "  trigger REF     ask a service to build an image, and wait for it\n\nOptions:\n",
              stdout);
        zp_options_print(stdout, options, OPTIONS);
        fputs("\nExample:\n  zeropull-hook --standalone --listen 127.0.0.1:8480\n", stdout);
}

static int usage(const char *text, const char *what) {
        struct zp_error err = { 0 };
        zp_error_set(&err, EINVAL, "%s%s", text, what);
        zp_error_hint(&err, "'" PROGRAM " --help' lists commands and options");
        return zp_complain(PROGRAM, &err, HOOK_EXIT_USAGE);
}

static int failed(const struct zp_error *err) {
        return zp_complain(PROGRAM, err, HOOK_EXIT_FAILED);
}

static struct hook_serve_options serve_options(const struct call *call) {
        const char *config = value(call, OPTION_CONFIG);
        return (struct hook_serve_options){ .config = config ? config : HOOK_CONFIG_DEFAULT_PATH,
                                            .standalone = value(call, OPTION_STANDALONE) != NULL,
                                            .listen = value(call, OPTION_LISTEN),
                                            .state = value(call, OPTION_STATE),
                                            .builder = value(call, OPTION_BUILDER) };
}

/* ---- commands ---- */

static int serve(const struct call *call) {
        if (value(call, OPTION_STANDALONE) && value(call, OPTION_CONFIG))
                return usage("--standalone is without a configuration: leave one out of it and --config", "");
        struct hook_serve_options serve = serve_options(call);
        struct zp_error err = { 0 };
        umask(077);
        return hook_serve(&serve, &err) < 0 ? failed(&err) : HOOK_EXIT_DONE;
}

static int check_config(const struct call *call) {
        struct hook_serve_options serve = serve_options(call);
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        struct zp_error err = { 0 };
        if (call->argument_count != 1)
                return usage("check-config: wants nothing more: ", call->arguments[1]);
        if (hook_serve_config(&serve, &config, &err) < 0 || hook_config_check_builder(config, &err) < 0)
                return failed(&err);
        if (!value(call, OPTION_QUIET))
                printf("%s: in order (rules: %zu, registries: %zu, endpoints: %zu, tokens: %zu)\n", config->path,
                       config->rule_count, config->registry_count, config->endpoint_count, config->token_count);
        return HOOK_EXIT_DONE;
}

/* A usage error, where it is no image's name. */
static int bad_reference(const char *text) {
        struct hook_events events = { 0 };
        struct zp_error err = { 0 };
        int r = hook_events_add_reference(&events, text, &err);
        hook_events_clear(&events);
        return r < 0 ? usage("", err.message) : HOOK_EXIT_DONE;
}

static int explain(const struct hook_config *config, const char *reference, struct zp_error *err) {
        struct hook_events events = { 0 };
        struct hook_decision decision = { 0 };
        zp_autobuffer struct zp_buffer why = { 0 };
        int r = hook_events_add_reference(&events, reference, err);
        if (r == 0 && !hook_config_registry(config, events.items[0].host))
                r = zp_error_set(err, EINVAL, "registry %s is not in the configuration", events.items[0].host);
        if (r == 0)
                r = hook_decide(config, &events.items[0], NULL, NULL, &why, &decision, err);
        int code = decision.count > 0 ? HOOK_EXIT_DONE : HOOK_EXIT_REFUSED;
        if (r == 0) {
                fputs(why.data ? why.data : "", stdout);
                printf("%s: %s\n", reference, decision.text);
                for (size_t i = 0; i < decision.count; i++)
                        printf("  %s %s -> %s (rule '%s', priority %d)\n", decision.wanted[i].platform,
                               decision.wanted[i].digest, decision.wanted[i].target, decision.wanted[i].rule,
                               decision.wanted[i].priority);
        }
        hook_decision_clear(&decision);
        hook_events_clear(&events);
        return r < 0 ? r : code;
}

static int rules_test(const struct call *call) {
        struct hook_serve_options serve = serve_options(call);
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        struct zp_error err = { 0 };
        if (call->argument_count != 3 || strcmp(call->arguments[1], "test") != 0)
                return usage("rules: wants 'test REF'", "");
        if (bad_reference(call->arguments[2]))
                return HOOK_EXIT_USAGE;
        if (hook_serve_config(&serve, &config, &err) < 0)
                return failed(&err);
        int code = explain(config, call->arguments[2], &err);
        return code < 0 ? failed(&err) : code;
}

static int trigger(const struct call *call) {
        const char *url = value(call, OPTION_URL), *file = value(call, OPTION_TOKEN_FILE);
        const char *timeout = value(call, OPTION_TIMEOUT);
        struct zp_error err = { 0 };
        zp_autofree char *token = NULL;
        size_t size;
        char *end = "";
        if (call->argument_count != 2)
                return usage("trigger: wants one reference", "");
        if (bad_reference(call->arguments[1]))
                return HOOK_EXIT_USAGE;
        if (!url)
                url = getenv("ZEROPULL_HOOK_URL");
        struct hook_trigger_options trigger = { .url = url ? url : "http://127.0.0.1:8480",
                                                .token = getenv("ZEROPULL_HOOK_TOKEN"),
                                                .ca_file = value(call, OPTION_CA_FILE),
                                                .reference = call->arguments[1],
                                                .force = value(call, OPTION_FORCE) != NULL,
                                                .is_quiet = value(call, OPTION_QUIET) != NULL,
                                                .timeout_s = timeout ? strtol(timeout, &end, 10) : 3600 };
        if (*end || trigger.timeout_s < 1 || trigger.timeout_s > 1000000)
                return usage("--timeout: not a number of seconds: ", timeout);
        if (file && zp_read_file(AT_FDCWD, file, TOKEN_MAX, &token, &size, &err) < 0)
                return failed(&err);
        if (token) {
                token[strcspn(token, "\r\n")] = '\0';
                trigger.token = token;
        }
        enum hook_exit code = HOOK_EXIT_FAILED;
        return hook_trigger(&trigger, &code, &err) < 0 ? failed(&err) : (int) code;
}

static const struct {
        const char *name;
        int (*run)(const struct call *call);
} commands[] = { { "check-config", check_config }, { "rules", rules_test }, { "trigger", trigger } };

/* ---- the command line ---- */

/* -1: go on; else the exit code. */
static int parse(struct call *call, int argc, char **argv) {
        struct zp_error err = { 0 };
        int first = zp_options_read(options, OPTIONS, argc, argv, call->values, &err);
        if (first < 0)
                return usage("", err.message);
        if (value(call, OPTION_HELP)) {
                print_help();
                return HOOK_EXIT_DONE;
        }
        if (value(call, OPTION_VERSION)) {
                puts("zeropull-hook " ZP_VERSION);
                return HOOK_EXIT_DONE;
        }
        call->argument_count = argc - first;
        call->arguments = argv + first;
        return -1;
}

int main(int argc, char **argv) {
        struct call call = { 0 };
        int code = parse(&call, argc, argv);
        if (code >= 0)
                return code;
        if (value(&call, OPTION_QUIET))
                hook_log_set_level(HOOK_LOG_WARNING);
        if (call.argument_count == 0)
                return serve(&call);
        for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
                if (strcmp(commands[i].name, call.arguments[0]) == 0)
                        return commands[i].run(&call);
        return usage("unknown command: ", call.arguments[0]);
}
