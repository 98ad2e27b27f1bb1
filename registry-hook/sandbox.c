/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/sandbox.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/confine.h"
#include "registry-hook/call-filter.h"
#include "registry-hook/log.h"
#include "registry-hook/sandbox-internal.h"

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)

static const char *const step_names[] = {
        "die with the service", "process group", "user namespace", "read-only mounts",
        "writable mounts",      "limits",        "open files",     "give up capabilities",
        "system call filter",   "execute",       "try out"
};

static void reap(int pidfd) {
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED) < 0 && errno == EINTR)
                continue;
}

/* Reads what the child says before it executes; nothing is success. */
static int await(int fd, struct hook_sandboxed *child, const char *name, struct zp_error *err) {
        struct hook_sandbox_failure failure;
        ssize_t size;
        while ((size = read(fd, &failure, sizeof failure)) < 0 && errno == EINTR)
                continue;
        if (size != (ssize_t) sizeof failure)
                return 0;
        reap(child->pidfd);
        close(child->pidfd);
        return zp_error_errno(err, failure.code, "sandbox: %s '%s'", step_names[failure.step], name);
}

static int start(const struct hook_sandbox *sandbox, const struct hook_sandbox_options *options,
                 const char *const *writable, struct hook_sandboxed *out, struct zp_error *err) {
        int ends[2];
        zp_autoclose int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        if (null_fd < 0 || pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "sandbox");
        struct hook_sandbox_child child = { sandbox, options, writable, ends[1], ends[0], null_fd, "", "" };
        snprintf(child.user_map, sizeof child.user_map, "%u %u 1", geteuid(), geteuid());
        snprintf(child.group_map, sizeof child.group_map, "%u %u 1", getegid(), getegid());
        struct clone_args arguments = { .flags = sandbox->flags | CLONE_PIDFD,
                                        .pidfd = (uint64_t) (uintptr_t) &out->pidfd,
                                        .exit_signal = SIGCHLD };
        if (out->has_cgroup) {
                arguments.flags |= CLONE_INTO_CGROUP;
                arguments.cgroup = (uint64_t) out->cgroup.fd;
        }
        long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
        if (pid == 0)
                hook_sandbox_be_child(&child);
        int code = errno;
        close(ends[1]);
        int r = pid < 0 ? zp_error_errno(err, code, "sandbox: start a process") : 0;
        out->pid = (pid_t) pid;
        if (r == 0)
                r = await(ends[0], out, options ? options->argv[0] : writable[0], err);
        close(ends[0]);
        return r;
}

/* Whether a child in these namespaces gets as far as it has to. */
static bool can_have(struct hook_sandbox *sandbox, uint64_t flags, const char *scratch) {
        const char *writable[HOOK_SANDBOX_WRITABLE] = { scratch };
        struct hook_sandboxed child = { 0 };
        sandbox->flags = flags;
        if (start(sandbox, NULL, writable, &child, NULL) < 0)
                return false;
        reap(child.pidfd);
        close(child.pidfd);
        return true;
}

int hook_sandbox_new(const char *scratch, struct hook_sandbox **out, struct zp_error *err) {
        static const struct {
                uint64_t flags;
                const char *text;
        } kinds[] = {
                { CLONE_NEWUSER | NAMESPACES, "user, mount, pid, ipc and uts namespaces, seccomp" },
                { NAMESPACES, "mount, pid, ipc and uts namespaces, seccomp" },
                { CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS,
                  "user, pid, ipc and uts namespaces, seccomp" },
                { 0, "seccomp (no namespaces are to be had here)" },
        };
        struct hook_sandbox *sandbox = calloc(1, sizeof *sandbox);
        if (!sandbox)
                return zp_error_errno(err, ENOMEM, "sandbox");
        int r = hook_call_filter_compile(&sandbox->filter, err);
        if (r < 0) {
                free(sandbox);
                return r;
        }
        size_t i = 0;
        while (kinds[i].flags && !can_have(sandbox, kinds[i].flags, scratch))
                i++;
        sandbox->flags = kinds[i].flags;
        struct zp_error reason = { 0 };
        if (hook_cgroups_open(&sandbox->cgroups, &reason) < 0)
                hook_log(HOOK_LOG_INFO, "%s: limits hold for each process of a build", reason.message);
        char landlock[32] = ", no Landlock";
        int abi = zp_confine_landlock_abi(&reason);
        if (abi < 0)
                hook_log(HOOK_LOG_ERROR, "%s: no build can succeed: %s", reason.message, reason.hint);
        else if (abi > 0)
                snprintf(landlock, sizeof landlock, ", Landlock (ABI %d)", abi);
        snprintf(sandbox->text, sizeof sandbox->text, "%s%s%s", kinds[i].text, sandbox->cgroups ? ", cgroups" : "",
                 landlock);
        *out = sandbox;
        return 0;
}

void hook_sandbox_free(struct hook_sandbox *sandbox) {
        if (sandbox->cgroups)
                hook_cgroups_free(sandbox->cgroups);
        free(sandbox->filter.filter);
        free(sandbox);
}

const char *hook_sandbox_text(const struct hook_sandbox *sandbox) {
        return sandbox->text;
}

int hook_sandbox_start(const struct hook_sandbox *sandbox, const struct hook_sandbox_options *options,
                       struct hook_sandboxed *out, struct zp_error *err) {
        *out = (struct hook_sandboxed){ .has_cgroup = sandbox->cgroups != NULL };
        int r = out->has_cgroup
                        ? hook_cgroup_make(sandbox->cgroups, options->memory, HOOK_SANDBOX_PROCESSES, &out->cgroup, err)
                        : 0;
        if (r < 0)
                return r;
        r = start(sandbox, options, options->writable, out, err);
        if (r < 0 && out->has_cgroup)
                hook_cgroup_end(sandbox->cgroups, &out->cgroup);
        return r;
}

bool hook_sandbox_end(const struct hook_sandbox *sandbox, struct hook_sandboxed *child, siginfo_t *info) {
        kill(-child->pid, SIGKILL);
        while (waitid(P_PIDFD, (id_t) child->pidfd, info, WEXITED) < 0 && errno == EINTR)
                continue;
        close(child->pidfd);
        child->pidfd = -1;
        return child->has_cgroup && hook_cgroup_end(sandbox->cgroups, &child->cgroup);
}
