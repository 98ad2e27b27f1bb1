/* SPDX-License-Identifier: Apache-2.0
 *
 * The `zeropull-snapshotter` daemon: parses the command line and the configuration, and serves.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/options.h"
#include "snapshotter/check.h"
#include "snapshotter/fresh-root.h"
#include "snapshotter/node.h"

#define PROGRAM "zeropull-snapshotter"

enum { EXIT_DONE, EXIT_FAILED, EXIT_USAGE };

static const char usage[] =
        "Usage: zeropull-snapshotter [OPTION...]\n"
        "\n"
        "A containerd snapshotter (proxy plugin): images that have a snapshot start at once, others as with "
        "overlayfs.\n"
        "\n"
        "Options:\n"
        "  -r, --root DIR        where snapshots are kept\n"
        "  -a, --address SOCKET  the unix socket to serve at\n"
        "  -c, --config FILE     settings; options go before them\n"
        "  -l, --log-level LEVEL debug, info, warn or error\n"
        "      --check           tell what this node lacks, and how to get it, instead of serving\n"
        "      --containerd-config FILE  containerd's settings, for --check\n"
        "      --json            for --check: as JSON\n"
        "      --test-config     only read the settings: whether they are understood\n"
        "  -h, --help            this text\n"
        "      --version         the version\n"
        "\n"
        "Example:\n"
        "  zeropull-snapshotter --root /var/lib/zeropull-snapshotter --address /run/zeropull/snapshotter.sock\n";

static const struct option options[] = {
        { "root", required_argument, NULL, 'r' },
        { "address", required_argument, NULL, 'a' },
        { "config", required_argument, NULL, 'c' },
        { "log-level", required_argument, NULL, 'l' },
        { "check", no_argument, NULL, 'C' },
        { "containerd-config", required_argument, NULL, 'D' },
        { "json", no_argument, NULL, 'j' },
        { "test-config", no_argument, NULL, 'T' },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'v' },
        { 0 },
};

struct arguments {
        const char *root, *address, *config, *log_level, *containerd_config;
        bool checks, as_json, tests_config;
};

static int wrong_usage(const char *what, const char *argument) {
        struct zp_error err = { 0 };
        zp_error_set(&err, EINVAL, "%s%s", what, argument);
        zp_error_hint(&err, PROGRAM " --help");
        return zp_complain(PROGRAM, &err, EXIT_USAGE);
}

/* -1: go on; else the exit code. */
static int parse_arguments(int argc, char **argv, struct arguments *out) {
        opterr = 0;
        for (int kind; (kind = getopt_long(argc, argv, ":r:a:c:l:h", options, NULL)) != -1;)
                switch (kind) {
                case 'r':
                        out->root = optarg;
                        break;
                case 'a':
                        out->address = optarg;
                        break;
                case 'c':
                        out->config = optarg;
                        break;
                case 'l':
                        out->log_level = optarg;
                        break;
                case 'C':
                        out->checks = true;
                        break;
                case 'D':
                        out->containerd_config = optarg;
                        break;
                case 'j':
                        out->as_json = true;
                        break;
                case 'T':
                        out->tests_config = true;
                        break;
                case 'h':
                        fputs(usage, stdout);
                        return EXIT_DONE;
                case 'v':
                        puts("zeropull-snapshotter " ZP_VERSION);
                        return EXIT_DONE;
                case ':':
                        return wrong_usage("an option wants a value: ", argv[optind - 1]);
                default:
                        return wrong_usage("unknown option: ", argv[optind - 1]);
                }
        return optind < argc ? wrong_usage("unexpected argument: ", argv[optind]) : -1;
}

/* As shipped: what is checked when nobody says what will be used. */
#define CONTAINERD_CONFIG "/etc/containerd/config.toml"

static int set_path(char **setting, const char *value, struct zp_error *err) {
        if (!value)
                return 0;
        free(*setting);
        *setting = strdup(value);
        return *setting ? 0 : zp_error_errno(err, ENOMEM, "options");
}

/* 0, a negative errno, or EXIT_USAGE. */
static int configure(const struct arguments *arguments, struct snap_config *config, struct zp_error *err) {
        const char *file = arguments->config;
        if (!file && arguments->checks && access(SNAP_CONFIG_PATH, F_OK) == 0)
                file = SNAP_CONFIG_PATH;
        int r = file ? snap_config_load(file, config, err) : 0;
        if (r == 0)
                r = set_path(&config->root, arguments->root, err);
        if (r == 0)
                r = set_path(&config->address, arguments->address, err);
        if (r == 0 && arguments->checks && !config->root)
                r = set_path(&config->root, SNAP_CONFIG_ROOT, err);
        if (r == 0 && arguments->checks && !config->address)
                r = set_path(&config->address, SNAP_CONFIG_ADDRESS, err);
        if (r < 0)
                return r;
        if (arguments->log_level && !snap_log_parse_level(arguments->log_level, &config->log_level))
                return wrong_usage("--log-level: not one of debug, info, warn, error: ", arguments->log_level);
        if (!config->root || !*config->root)
                return wrong_usage("the root directory is not given (--root)", "");
        if (!config->address || !*config->address)
                return wrong_usage("the socket is not given (--address)", "");
        return snap_config_check(config, err);
}

/* Who sees the socket may have us end at once: that is done in order, as soon as there is somebody to do it. */
static void hold_signals(void) {
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigprocmask(SIG_BLOCK, &set, NULL);
}

static int serve(struct snap_config *config, int argc, char **argv, struct zp_error *err) {
        /* a log that nobody reads any more must not end the supervisor, and with it all mounts */
        signal(SIGPIPE, SIG_IGN);
        hold_signals();
        zp_autofree char *root = strdup(config->root), *fresh = snap_fresh_root(config->root);
        int r = snap_config_finish(config, err);
        if (r == 0)
                r = snap_node_run(config, argc, argv, err);
        if (r < 0 && r != -EBUSY && root && fresh) /* busy: another one uses it, and may be between two of its locks */
                snap_fresh_root_take_back(root, fresh);
        return r;
}

static int complain(struct zp_error *err, int code) {
        if ((err->code == EACCES || err->code == EPERM) && geteuid() != 0)
                zp_error_hint(err, "what it does is root's: run it as root");
        return zp_complain(PROGRAM, err, code);
}

int main(int argc, char **argv) {
        struct arguments arguments = { 0 };
        struct snap_config config;
        struct zp_error err = { 0 };
        int code = parse_arguments(argc, argv, &arguments);
        if (code >= 0)
                return code;
        umask(022);
        signal(SIGCHLD, SIG_DFL); /* ignored by who started us, it would hide the end of every child from us */
        snap_config_init(&config);
        int r = configure(&arguments, &config, &err);
        if (r < 0)
                r = complain(&err, EXIT_USAGE);
        else if (r == 0 && arguments.tests_config)
                r = snap_node_may_follow(&config, &err);
        else if (r == 0)
                r = arguments.checks ? snap_check_run(&config,
                                                      arguments.containerd_config ? arguments.containerd_config
                                                                                  : CONTAINERD_CONFIG,
                                                      arguments.as_json, &err)
                                     : serve(&config, argc, argv, &err);
        snap_config_clear(&config);
        return r >= 0 ? r : complain(&err, err.code == EINVAL ? EXIT_USAGE : EXIT_FAILED);
}
