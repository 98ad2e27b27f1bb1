/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull-controller` command.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "controller/config.h"
#include "controller/controller.h"

#define EXIT_USAGE 2

enum {
        OPTION_KUBECONFIG = 256,
        OPTION_CONFIG,
        OPTION_NAMESPACE,
        OPTION_METRICS,
        OPTION_LEADER_ELECT,
        OPTION_CHECK_CONFIG,
        OPTION_HELP,
        OPTION_VERSION
};

static const struct {
        int value;
        const char *name, *argument, *help;
} options[] = {
        { OPTION_KUBECONFIG, "kubeconfig", "FILE", "how to reach the cluster (default: see zeropull-controller(8))" },
        { OPTION_CONFIG, "config", "FILE", "the configuration (default: " CTL_CONFIG_DEFAULT_PATH ", if it is there)" },
        { OPTION_NAMESPACE, "namespace", "NAME", "look at nothing outside of this namespace" },
        { OPTION_METRICS, "metrics", "ADDRESS:PORT", "serve /metrics, /healthz and /readyz there" },
        { OPTION_LEADER_ELECT, "leader-elect", NULL, "of several controllers one works at a time" },
        { OPTION_CHECK_CONFIG, "check-config", NULL, "read the configuration, say whether it is in order, and end" },
        { OPTION_HELP, "help", NULL, "show this help" },
        { OPTION_VERSION, "version", NULL, "show the version" },
};
#define OPTIONS (sizeof options / sizeof *options)

static void print_help(FILE *out) {
        fputs("Usage: zeropull-controller [OPTION...]\n\n"
              "Makes the snapshots that ImageSnapshot objects of a Kubernetes cluster ask for.\n\nOptions:\n",
              out);
        for (size_t i = 0; i < OPTIONS; i++) {
                char left[40];
                snprintf(left, sizeof left, "      --%s%s%s", options[i].name, options[i].argument ? " " : "",
                         options[i].argument ? options[i].argument : "");
                fprintf(out, "%-30s %s\n", left, options[i].help);
        }
        fputs("\nExample:\n  zeropull-controller --kubeconfig ~/.kube/config --config controller.yaml\n", out);
}

static int usage(const char *text, const char *what) {
        fprintf(stderr, "zeropull-controller: %s%s\n  hint: 'zeropull-controller --help' lists the options\n", text,
                what);
        return EXIT_USAGE;
}

static int failed(const struct zp_error *err) {
        fprintf(stderr, "zeropull-controller: %s\n", err->message);
        if (err->hint[0])
                fprintf(stderr, "  hint: %s\n", err->hint);
        return EXIT_FAILURE;
}

static int check_config(const char *path) {
        zp_auto(ctl_config_free) struct ctl_config *config = NULL;
        struct zp_error err = { 0 };
        if (ctl_config_load(path, &config, &err) < 0)
                return failed(&err);
        printf("%s: in order: executor %s, %zu registries\n", path ? path : "no configuration",
               config->executor == CTL_EXECUTOR_HOOK ? "Hook" : "Job", config->registry_count);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        struct ctl_options run = { 0 };
        struct option longs[OPTIONS + 1] = { 0 };
        struct zp_error err = { 0 };
        bool is_check = false;
        for (size_t i = 0; i < OPTIONS; i++)
                longs[i] = (struct option){ options[i].name, options[i].argument ? required_argument : no_argument,
                                            NULL, options[i].value };
        opterr = 0;
        for (int kind; (kind = getopt_long(argc, argv, ":h", longs, NULL)) != -1;) {
                switch (kind) {
                case OPTION_KUBECONFIG:
                        run.kubeconfig = optarg;
                        break;
                case OPTION_CONFIG:
                        run.config = optarg;
                        break;
                case OPTION_NAMESPACE:
                        run.namespace = optarg;
                        break;
                case OPTION_METRICS:
                        run.metrics = optarg;
                        break;
                case OPTION_LEADER_ELECT:
                        run.is_elected = true;
                        break;
                case OPTION_CHECK_CONFIG:
                        is_check = true;
                        break;
                case 'h':
                case OPTION_HELP:
                        print_help(stdout);
                        return EXIT_SUCCESS;
                case OPTION_VERSION:
                        puts("zeropull-controller " ZP_VERSION);
                        return EXIT_SUCCESS;
                default:
                        return usage(kind == ':' ? "a value is missing: " : "unknown option: ", argv[optind - 1]);
                }
        }
        if (optind < argc)
                return usage("unexpected argument: ", argv[optind]);
        if (!run.config && access(CTL_CONFIG_DEFAULT_PATH, F_OK) == 0)
                run.config = CTL_CONFIG_DEFAULT_PATH;
        if (is_check)
                return check_config(run.config);
        umask(077);
        return ctl_controller_run(&run, &err) < 0 ? failed(&err) : EXIT_SUCCESS;
}
