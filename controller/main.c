/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull-controller` command.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/options.h"
#include "controller/config.h"
#include "controller/controller.h"
#include "controller/remove.h"

#define PROGRAM "zeropull-controller"
#define EXIT_USAGE 2

enum {
        OPTION_KUBECONFIG,
        OPTION_CONFIG,
        OPTION_NAMESPACE,
        OPTION_METRICS,
        OPTION_LEADER_ELECT,
        OPTION_CHECK_CONFIG,
        OPTION_REMOVE_ALL,
        OPTION_HELP,
        OPTION_VERSION,
        OPTIONS
};

static const struct zp_option options[OPTIONS] = {
        [OPTION_KUBECONFIG] = { "kubeconfig", "FILE",
                                "how to reach the cluster (default: see zeropull-controller(8))" },
        [OPTION_CONFIG] = { "config", "FILE",
                            "the configuration (default: " CTL_CONFIG_DEFAULT_PATH ", if it is there)" },
        [OPTION_NAMESPACE] = { "namespace", "NAME", "look at nothing outside of this namespace" },
        [OPTION_METRICS] = { "metrics", "ADDRESS:PORT", "serve /metrics, /healthz and /readyz there" },
        [OPTION_LEADER_ELECT] = { "leader-elect", NULL, "of several controllers one works at a time" },
        [OPTION_CHECK_CONFIG] = { "check-config", NULL, "read the configuration, say whether it is in order, and end" },
        [OPTION_REMOVE_ALL] = { "remove-all", NULL, "delete all objects, wait until they are gone, and end" },
        [OPTION_HELP] = { "help", NULL, "show this help", 'h' },
        [OPTION_VERSION] = { "version", NULL, "show the version" },
};

static void print_help(void) {
        fputs("Usage: " PROGRAM " [OPTION...]\n\n"
              "Makes the snapshots that ImageSnapshot objects of a Kubernetes cluster ask for.\n\nOptions:\n",
              stdout);
        zp_options_print(stdout, options, OPTIONS);
        fputs("\nExample:\n  " PROGRAM " --kubeconfig ~/.kube/config --config controller.yaml\n", stdout);
}

static int failed(const struct zp_error *err) {
        return zp_complain(PROGRAM, err, EXIT_FAILURE);
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
        const char *values[OPTIONS];
        struct zp_error err = { 0 };
        int first = zp_options_read(options, OPTIONS, argc, argv, values, &err);
        if (first >= 0 && first < argc)
                zp_error_set(&err, EINVAL, "unexpected argument: %s", argv[first]);
        if (err.code) {
                zp_error_hint(&err, "'" PROGRAM " --help' lists the options");
                return zp_complain(PROGRAM, &err, EXIT_USAGE);
        }
        if (values[OPTION_HELP]) {
                print_help();
                return EXIT_SUCCESS;
        }
        if (values[OPTION_VERSION]) {
                puts(PROGRAM " " ZP_VERSION);
                return EXIT_SUCCESS;
        }
        const char *config = values[OPTION_CONFIG];
        if (!config && access(CTL_CONFIG_DEFAULT_PATH, F_OK) == 0)
                config = CTL_CONFIG_DEFAULT_PATH;
        if (values[OPTION_CHECK_CONFIG])
                return check_config(config);
        const struct ctl_options run = { .kubeconfig = values[OPTION_KUBECONFIG],
                                         .config = config,
                                         .namespace = values[OPTION_NAMESPACE],
                                         .metrics = values[OPTION_METRICS],
                                         .is_elected = values[OPTION_LEADER_ELECT] != NULL };
        umask(077);
        int r = values[OPTION_REMOVE_ALL] ? ctl_remove_all(&run, &err) : ctl_controller_run(&run, &err);
        return r < 0 ? failed(&err) : EXIT_SUCCESS;
}
