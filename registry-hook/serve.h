/* SPDX-License-Identifier: Apache-2.0
 *
 * The service itself, from start to end.
 */
#ifndef HOOK_SERVE_H
#define HOOK_SERVE_H

#include "base/error.h"

struct hook_serve_options {
        const char *config; /* the file; NULL with `standalone` */
        bool standalone;
        const char *listen, *state, *builder; /* instead of what the configuration says; NULL: what it says */
};
/* Runs until SIGTERM or SIGINT; SIGHUP reads the configuration again. The process must have one thread. */
int hook_serve(const struct hook_serve_options *options, struct zp_error *err);
/* The configuration that these options mean. The caller drops it. */
struct hook_config;
int hook_serve_config(const struct hook_serve_options *options, struct hook_config **out, struct zp_error *err);

#endif
