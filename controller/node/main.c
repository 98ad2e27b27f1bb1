/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull-node` command.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/options.h"
#include "controller/kube/client.h"
#include "controller/node/agent.h"
#include "controller/node/keeper.h"
#include "controller/log.h"
#include "controller/node/service.h"
#include "snapshotter/control/config.h"

#define PROGRAM "zeropull-node"
#define EXIT_USAGE 2
#define PARALLELISM_DEFAULT 2
#define KEEPER_DEFAULT "/run/zeropull/keeper.sock"

enum {
        OPTION_NODE,
        OPTION_ROOT,
        OPTION_STORE,
        OPTION_CONFIG,
        OPTION_KUBECONFIG,
        OPTION_KUBELET,
        OPTION_ZEROPULL,
        OPTION_PARALLELISM,
        OPTION_NO_POD_EVENTS,
        OPTION_NRI,
        OPTION_KEEPER,
        OPTION_HELP,
        OPTION_VERSION,
        OPTIONS
};

static const struct zp_option options[OPTIONS] = {
        [OPTION_NODE] = { "node", "NAME", "this node's name (default: $NODE_NAME, else the host's)" },
        [OPTION_ROOT] = { "root", "DIR", "the snapshotter's root directory" },
        [OPTION_STORE] = { "store", "DIR", "where images go (default: as the settings say)" },
        [OPTION_CONFIG] = { "config", "FILE", "the snapshotter's settings" },
        [OPTION_KUBECONFIG] = { "kubeconfig", "FILE", "default: $KUBECONFIG, else the pod's account" },
        [OPTION_KUBELET] = { "kubelet-kubeconfig", "FILE", "with which pods' pull secrets are read" },
        [OPTION_ZEROPULL] = { "zeropull", "FILE", "the zeropull program (default: beside this one)" },
        [OPTION_PARALLELISM] = { "parallelism", "N", "images that are fetched at a time (default: 2)" },
        [OPTION_NO_POD_EVENTS] = { "no-pod-events", NULL, "do not say on pods whether they were accelerated" },
        [OPTION_NRI] = { "nri", "SOCKET", "keep pods' wishes: containerd's socket for plugins" },
        [OPTION_KEEPER] = { "keeper", "SOCKET", "keep, run: the keeper (default: " KEEPER_DEFAULT ")" },
        [OPTION_HELP] = { "help", NULL, "show this help", 'h' },
        [OPTION_VERSION] = { "version", NULL, "show the version" },
};

struct call {
        const char *values[OPTIONS]; /* "" for a flag; NULL: absent */
        int argument_count;
        char **arguments;
};

static struct zp_cancel cancel;

static const char *value(const struct call *call, int option) {
        return call->values[option];
}

static void print_help(void) {
        fputs("Usage: zeropull-node [OPTION...] [COMMAND]\n\n"
              "A Kubernetes node's agent: has snapshots there before pods ask for them.\n\nCommands:\n"
              "  (none)          fetch what the node's NodeSnapshotCache lists\n"
              "  keep            keep descriptors for daemons in other pods\n"
              "  run -- PROGRAM  run a daemon whose descriptors the keeper keeps\n\nOptions:\n",
              stdout);
        zp_options_print(stdout, options, OPTIONS);
        fputs("\nExample:\n  zeropull-node --config " SNAP_CONFIG_PATH "\n", stdout);
}

static int usage(const char *text, const char *what) {
        struct zp_error err = { 0 };
        zp_error_set(&err, EINVAL, "%s%s", text, what);
        zp_error_hint(&err, "'" PROGRAM " --help' lists commands and options");
        return zp_complain(PROGRAM, &err, EXIT_USAGE);
}

static int failed(const struct zp_error *err) {
        return zp_complain(PROGRAM, err, EXIT_FAILURE);
}

static void on_signal(int number) {
        (void) number;
        atomic_store(&cancel.requested, true);
}

static void end_on_signals(void) {
        struct sigaction action = { .sa_handler = on_signal };
        sigaction(SIGTERM, &action, NULL);
        sigaction(SIGINT, &action, NULL);
}

/* ---- the agent ---- */

/* malloc'ed; NULL: out of memory. */
static char *program_beside(const char *name) {
        char self[4096];
        ssize_t size = readlink("/proc/self/exe", self, sizeof self - 1);
        if (size <= 0)
                return strdup(name);
        self[size] = '\0';
        return zp_format("%.*s/%s", (int) (strrchr(self, '/') - self), self, name);
}

/* The directories are the settings', but for what the command line says. */
static int find_directories(const struct call *call, struct snap_config *config, struct zp_error *err) {
        const char *root = value(call, OPTION_ROOT), *store = value(call, OPTION_STORE);
        int r = value(call, OPTION_CONFIG) ? snap_config_load(value(call, OPTION_CONFIG), config, err) : 0;
        if (r < 0)
                return r;
        if (root || !config->root) {
                free(config->root);
                config->root = strdup(root ? root : SNAP_CONFIG_ROOT);
        }
        if (store || !config->store) {
                free(config->store);
                config->store = store ? strdup(store) : config->root ? zp_format("%s/store", config->root) : NULL;
        }
        return config->root && config->store ? 0 : zp_error_errno(err, ENOMEM, "settings");
}

static int connect_to_cluster(const char *file, struct zp_kube_config **config, struct zp_kube **kube,
                              struct zp_error *err) {
        const struct zp_kube_config_choice choice = { .kubeconfig = file };
        int r = zp_kube_config_load(&choice, config, err);
        const struct zp_kube_options client = { .config = *config,
                                                .user_agent = "zeropull-node/" ZP_VERSION,
                                                .cancel = &cancel };
        return r < 0 ? r : zp_kube_new(&client, kube, err);
}

static int connect_and_run(const struct call *call, struct node_options *node, struct zp_error *err) {
        const char *as_kubelet = value(call, OPTION_KUBELET);
        zp_auto(zp_kube_config_free) struct zp_kube_config *config = NULL, *kubelet_config = NULL;
        zp_auto(zp_kube_free) struct zp_kube *kube = NULL, *kubelet = NULL;
        int r = connect_to_cluster(value(call, OPTION_KUBECONFIG), &config, &kube, err);
        if (r == 0 && as_kubelet)
                r = connect_to_cluster(as_kubelet, &kubelet_config, &kubelet, err);
        if (r < 0)
                return r;
        node->kube = kube;
        node->kubelet = kubelet;
        ctl_log(CTL_LOG_INFO, "node %s: images go to %s", node->node, node->store);
        return node_agent_run(node, err);
}

static int run_agent(const struct call *call) {
        const char *name = value(call, OPTION_NODE) ? value(call, OPTION_NODE) : getenv("NODE_NAME");
        const char *number = value(call, OPTION_PARALLELISM);
        char host[256] = "", *end = "";
        long parallelism = number ? strtol(number, &end, 10) : PARALLELISM_DEFAULT;
        struct snap_config config;
        struct zp_error err = { 0 };
        if (*end || parallelism < 1 || parallelism > 16)
                return usage("--parallelism: not a number from 1 to 16: ", number);
        if (gethostname(host, sizeof host - 1) == 0 && (!name || !name[0]))
                name = host;
        zp_autofree char *beside = program_beside("zeropull");
        const char *program = value(call, OPTION_ZEROPULL) ? value(call, OPTION_ZEROPULL) : beside;
        snap_config_init(&config);
        int r = program ? find_directories(call, &config, &err) : zp_error_errno(&err, ENOMEM, "agent");
        struct node_options node = { .node = name,
                                     .root = config.root,
                                     .store = config.store,
                                     .config = value(call, OPTION_CONFIG),
                                     .zeropull = program,
                                     .parallelism = (unsigned) parallelism,
                                     .tells_pods = !value(call, OPTION_NO_POD_EVENTS),
                                     .socket = config.agent,
                                     .nri = value(call, OPTION_NRI),
                                     .cancel = &cancel };
        end_on_signals();
        if (r == 0)
                r = connect_and_run(call, &node, &err);
        snap_config_clear(&config);
        return r < 0 && r != -ECANCELED ? failed(&err) : EXIT_SUCCESS;
}

/* ---- keeper and service ---- */

static const char *keeper_of(const struct call *call) {
        return value(call, OPTION_KEEPER) ? value(call, OPTION_KEEPER) : KEEPER_DEFAULT;
}

static int run_keeper(const struct call *call) {
        struct zp_error err = { 0 };
        if (call->argument_count != 1)
                return usage("keep: takes no arguments", "");
        end_on_signals();
        return node_keeper_run(keeper_of(call), &cancel, &err) < 0 ? failed(&err) : EXIT_SUCCESS;
}

static int run_service(const struct call *call) {
        struct zp_error err = { 0 };
        if (call->argument_count < 2)
                return usage("run: wants a program", "");
        const struct node_service service = { .keeper = keeper_of(call), .name = "fuse", .argv = call->arguments + 1 };
        int code = node_service_run(&service, &err);
        return code < 0 ? failed(&err) : code;
}

/* ---- the command line ---- */

/* -1: go on; else the exit code. */
static int parse(struct call *call, int argc, char **argv) {
        struct zp_error err = { 0 };
        int first = zp_options_read(options, OPTIONS, argc, argv, call->values, &err);
        if (first < 0)
                return usage("", err.message);
        if (value(call, OPTION_HELP)) {
                print_help();
                return EXIT_SUCCESS;
        }
        if (value(call, OPTION_VERSION)) {
                puts("zeropull-node " ZP_VERSION);
                return EXIT_SUCCESS;
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
        if (call.argument_count == 0)
                return run_agent(&call);
        if (strcmp(call.arguments[0], "keep") == 0)
                return run_keeper(&call);
        if (strcmp(call.arguments[0], "run") == 0)
                return run_service(&call);
        return usage("unknown command: ", call.arguments[0]);
}
