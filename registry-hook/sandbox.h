/* SPDX-License-Identifier: Apache-2.0
 *
 * A program that can fail and do nothing else: started with no new privileges, few capabilities, limits, a system call
 * filter, and, where the kernel and whoever runs us allow it, namespaces of its own in which everything but a few
 * directories is read-only, and a cgroup (cgroups.h). It keeps the network. (zeropull confines itself further, by
 * Landlock, before it reads the first byte of an image.)
 */
#ifndef HOOK_SANDBOX_H
#define HOOK_SANDBOX_H

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "registry-hook/cgroups.h"

#define HOOK_SANDBOX_WRITABLE 4

struct hook_sandbox_options {
        const char *const *argv, *const *environment;
        const char *writable[HOOK_SANDBOX_WRITABLE]; /* directories, absolute; NULL ones are skipped */
        int stdout_fd, stderr_fd;                    /* stdin is /dev/null */
        uint64_t memory, file_size, cpu_s;           /* limits; bytes, bytes, seconds; 0: none */
};

/* What a sandbox is made of here. */
struct hook_sandbox;
/* Finds out which namespaces can be had, by starting a child in them that tries to write below `scratch` (which it may)
 * and beside it, and whether cgroups can (this process then moves to another). */
int hook_sandbox_new(const char *scratch, struct hook_sandbox **out, struct zp_error *err);
void hook_sandbox_free(struct hook_sandbox *sandbox);
/* "user, mount, pid, ipc and uts namespaces, seccomp, cgroups, Landlock (ABI 4)": for the log. */
const char *hook_sandbox_text(const struct hook_sandbox *sandbox);

struct hook_sandboxed {
        pid_t pid; /* leads a process group of its own */
        int pidfd; /* readable once it has ended; then: hook_sandbox_end */
        bool has_cgroup;
        struct hook_cgroup cgroup;
};
/* The child dies with the calling thread. Returns once the program is executed; an error before that is this
 * function's. One thread at a time. */
int hook_sandbox_start(const struct hook_sandbox *sandbox, const struct hook_sandbox_options *options,
                       struct hook_sandboxed *out, struct zp_error *err);
/* Reaps the child, waiting for its end, and ends whatever it has left behind. *info is as waitid fills it. True: it, or
 * what it started, was killed for want of memory. The thread that started it. */
bool hook_sandbox_end(const struct hook_sandbox *sandbox, struct hook_sandboxed *child, siginfo_t *info);

#endif
