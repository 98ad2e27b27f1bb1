/* SPDX-License-Identifier: Apache-2.0
 *
 * What the service and the child that is to be a builder know of each other.
 */
#ifndef HOOK_SANDBOX_INTERNAL_H
#define HOOK_SANDBOX_INTERNAL_H

#include <linux/filter.h>
#include <stdint.h>

#include "registry-hook/sandbox.h"

#define HOOK_SANDBOX_PROCESSES 1024 /* of a build */

struct hook_sandbox {
        uint64_t flags; /* of clone3: the namespaces that can be had */
        struct sock_fprog filter;
        struct hook_cgroups *cgroups; /* NULL: there are none for us */
        char text[160];
};

/* What the child does, in this order; the step at which it failed comes back through a pipe. */
enum hook_sandbox_step {
        STEP_PARENT,
        STEP_GROUP,
        STEP_USER,
        STEP_MOUNTS,
        STEP_WRITABLE,
        STEP_LIMITS,
        STEP_FILES,
        STEP_CAPABILITIES,
        STEP_SECCOMP,
        STEP_EXEC,
        STEP_TRY
};

struct hook_sandbox_failure {
        enum hook_sandbox_step step;
        int code;
};

struct hook_sandbox_child {
        const struct hook_sandbox *sandbox;
        const struct hook_sandbox_options *options; /* NULL: only tries what it may */
        const char *const *writable;
        int failure_fd, service_fd, null_fd; /* of a pipe: the child's end, the service's */
        char user_map[48], group_map[48];    /* made before: no formatting in the child */
};

/* In the child, between clone3() and execve(): goes through the steps, and either executes or says where it failed. */
_Noreturn void hook_sandbox_be_child(const struct hook_sandbox_child *c);

#endif
