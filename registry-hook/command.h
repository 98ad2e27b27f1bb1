/* SPDX-License-Identifier: Apache-2.0
 *
 * How a build is called: the builder's arguments and environment.
 */
#ifndef HOOK_COMMAND_H
#define HOOK_COMMAND_H

#include "registry-hook/runner.h"

#define HOOK_ARGUMENTS_MAX 24
#define HOOK_VARIABLES_MAX 32

/* Zeroed before; cleared after, also when filling failed. The strings live as long as it and what it was made of. */
struct hook_command {
        const char *argv[HOOK_ARGUMENTS_MAX + 1]; /* NULL ends them */
        size_t count;
        char *owned[10];
        size_t owned_count;
        char *environment[HOOK_VARIABLES_MAX + 1]; /* "NAME=value", NULL ends them */
        size_t environment_count;
};

/* `registry` and `target` are the entries of the image and of where its snapshot goes (target.h). -ENOMEM */
int hook_command_fill(struct hook_command *command, const struct hook_build *build, const struct hook_rule *rule,
                      const struct hook_registry *registry, const struct hook_registry *target,
                      const struct hook_run_options *options, struct zp_error *err);
void hook_command_clear(struct hook_command *command);
#define hook_autocommand __attribute__((cleanup(hook_command_clear)))

#endif
