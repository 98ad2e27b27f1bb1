/* SPDX-License-Identifier: Apache-2.0
 *
 * The options with which a command reaches an image source, and the builder's: `build` and `verify --rebuild`
 * take the same.
 */
#ifndef ZP_CLI_SOURCE_OPTIONS_H
#define ZP_CLI_SOURCE_OPTIONS_H

#include "builder/build.h"
#include "cli/cli.h"
#include "cli/secret.h"

/* First in the option table of whoever takes them. */
enum {
        OPTION_PLAIN_HTTP,
        OPTION_CREDS,
        OPTION_PASSWORD_STDIN,
        OPTION_AUTH_FILE,
        OPTION_TLS_VERIFY,
        OPTION_CA_FILE,
        OPTION_HOSTS_DIR,
        OPTION_AFTER_REGISTRY,
        OPTION_THREADS = OPTION_AFTER_REGISTRY,
        OPTION_AFTER_SOURCE
};

#define CLI_REGISTRY_OPTIONS                                                                                  \
        [OPTION_PLAIN_HTTP] = { "plain-http", 0, NULL, "speak HTTP to the registry (loopback: on its own)" }, \
        [OPTION_CREDS] = { "creds", 0, "USER[:PASS]", "log in; without PASS it is asked for" },               \
        [OPTION_PASSWORD_STDIN] = { "password-stdin", 0, NULL, "read the password from stdin" },              \
        [OPTION_AUTH_FILE] = { "auth-file", 0, "FILE", "credentials, as docker login writes them" },          \
        [OPTION_TLS_VERIFY] = { "tls-verify", 0, "BOOL", "false: accept any certificate" },                   \
        [OPTION_CA_FILE] = { "ca-file", 0, "FILE", "trust these certificate authorities" },                   \
        [OPTION_HOSTS_DIR] = { "hosts-dir", 0, "DIR", "mirrors, as containerd's certs.d has them" }
/* Whoever builds. */
#define CLI_SOURCE_OPTIONS \
        CLI_REGISTRY_OPTIONS, [OPTION_THREADS] = { "threads", 0, "N", "compress on N threads (default: all CPUs)" }
/* Whoever sends or receives blobs. */
#define CLI_REMOTE_OPTIONS \
        CLI_REGISTRY_OPTIONS, [OPTION_THREADS] = { "threads", 0, "N", "blobs at the same time (default: 4)" }

/* Fills it from the command line. *credentials holds the text that `source` points to, malloc'ed; wipe it with
 * zp_secret_free(). May ask for a password on the terminal. */
int cli_take_registry_options(struct cli_call *call, struct zp_source_options *source, char **credentials,
                              struct zp_error *err);
/* The same, and the builder's. */
int cli_take_source_options(struct cli_call *call, struct zp_source_options *source, struct zp_build_options *build,
                            char **credentials, struct zp_error *err);
/* The platform that an option names, and then insists on; the machine's own without it. */
int cli_take_platform(struct cli_call *call, int option, struct zp_platform *out, struct zp_error *err);
/* A zp_notice of the options: a line of the progress that `progress` points to. */
void cli_tell_notice(void *progress, const char *text);

/* Marks a failed build as refused where the image was the reason. Returns `r`. */
int cli_build_failed(struct cli_call *call, int r);

#endif
