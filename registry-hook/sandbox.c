/* SPDX-License-Identifier: Apache-2.0
 *
 * Between clone and exec the child calls nothing but system calls: the service has many threads, and whatever lock one
 * of them held stays locked for ever in the child.
 */
#include "registry-hook/sandbox.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/confine.h"
#include "registry-hook/call-filter.h"
#include "registry-hook/log.h"

/* linux/mount.h, which libc's sys/mount.h does not get along with */
#define ATTRIBUTE_RDONLY 0x1u
#define ATTRIBUTE_NOSUID 0x2u
struct attributes {
        uint64_t set, clear, propagation, user_ns;
};

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS)
#define OPEN_FILES 4096
#define PROCESSES 1024
#define NICE 10

struct hook_sandbox {
        uint64_t flags; /* of clone3: the namespaces that can be had */
        struct sock_fprog filter;
        struct hook_cgroups *cgroups; /* NULL: there are none for us */
        char text[160];
};

/* What the child does, in this order; the step at which it failed comes back through a pipe. */
enum step {
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
static const char *const step_names[] = {
        "die with the service", "process group", "user namespace", "read-only mounts",
        "writable mounts",      "limits",        "open files",     "give up capabilities",
        "system call filter",   "execute",       "try out"
};

struct failure {
        enum step step;
        int code;
};

struct child {
        const struct hook_sandbox *sandbox;
        const struct hook_sandbox_options *options; /* NULL: only tries what it may */
        const char *const *writable;
        int failure_fd, service_fd, null_fd; /* of a pipe: the child's end, the service's */
        char user_map[48], group_map[48];    /* made before: no formatting in the child */
};

/* ---- in the child ---- */

static bool write_file(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text);
        if (fd >= 0)
                close(fd);
        return is_written;
}

/* Ourselves, and nobody else. */
static bool map_user(const struct child *c) {
        return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", c->user_map) &&
               write_file("/proc/self/gid_map", c->group_map);
}

static bool set_attributes(const char *path, unsigned flags, uint64_t set, uint64_t clear) {
        struct attributes attributes = { .set = set, .clear = clear };
        return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0;
}

/* A mount of its own for each writable directory, before all becomes read-only. */
static bool make_read_only(const struct child *c) {
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        for (size_t i = 0; i < HOOK_SANDBOX_WRITABLE; i++)
                if (c->writable[i] && mount(c->writable[i], c->writable[i], NULL, MS_BIND, NULL) < 0)
                        return false;
        return set_attributes("/", AT_RECURSIVE, ATTRIBUTE_RDONLY | ATTRIBUTE_NOSUID, 0);
}

static bool make_writable(const struct child *c) {
        for (size_t i = 0; i < HOOK_SANDBOX_WRITABLE; i++)
                if (c->writable[i] && !set_attributes(c->writable[i], 0, 0, ATTRIBUTE_RDONLY))
                        return false;
        /* a view of our own processes, through which root could set what is the kernel's as well: read-only, as is the
         * old one, which stays where a container does not allow a new one */
        if (c->sandbox->flags & CLONE_NEWPID)
                mount("proc", "/proc", "proc", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        return true;
}

/* Whoever asks: access(2) may find other reasons first. */
static bool is_read_only(void) {
        static const char *const paths[] = { "/", "/proc", "/proc/sys" };
        struct statfs st;
        for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
                if (statfs(paths[i], &st) < 0 || !(st.f_flags & ST_RDONLY))
                        return false;
        return true;
}

static bool limit(int resource, uint64_t value) {
        struct rlimit old, limit = { value, value };
        if (getrlimit(resource, &old) < 0)
                return false;
        if (limit.rlim_max > old.rlim_max) /* raising it is not ours to do */
                limit = (struct rlimit){ old.rlim_max, old.rlim_max };
        return setrlimit(resource, &limit) == 0;
}

static bool set_limits(const struct child *c) {
        const struct hook_sandbox_options *o = c->options;
        return limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, OPEN_FILES) &&
               (!o->memory || limit(RLIMIT_DATA, o->memory)) && (!o->file_size || limit(RLIMIT_FSIZE, o->file_size)) &&
               (!o->cpu_s || limit(RLIMIT_CPU, o->cpu_s)) &&
               /* counted for the user in this namespace alone */
               (!(c->sandbox->flags & CLONE_NEWUSER) || limit(RLIMIT_NPROC, PROCESSES));
}

static bool move_fd(int from, int to) {
        return from == to ? fcntl(from, F_SETFD, 0) == 0 : dup2(from, to) == to;
}

/* All others are close-on-exec, or belong to libraries that forgot. */
static bool set_files(const struct child *c) {
        const struct hook_sandbox_options *o = c->options;
        return move_fd(c->null_fd, 0) && move_fd(o->stdout_fd, 1) && move_fd(o->stderr_fd, 2) &&
               (syscall(SYS_close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */) == 0 || errno == ENOSYS ||
                errno == EINVAL);
}

/* Root keeps what lets it read and write files of others, as a build by hand could. */
static bool drop_capabilities(void) {
        for (int i = 0; i <= CAP_LAST_CAP; i++)
                if (i != CAP_DAC_OVERRIDE && prctl(PR_CAPBSET_READ, i) == 1 && prctl(PR_CAPBSET_DROP, i) < 0 &&
                    errno != EPERM)
                        return false;
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
        struct __user_cap_data_struct data[2] = { 0 };
        if (syscall(SYS_capget, &header, data) < 0)
                return false;
        uint32_t kept = data[0].permitted & (1u << CAP_DAC_OVERRIDE);
        data[0] = (struct __user_cap_data_struct){ kept, kept, 0 };
        data[1] = (struct __user_cap_data_struct){ 0 };
        return syscall(SYS_capset, &header, data) == 0;
}

static bool filter_calls(const struct hook_sandbox *sandbox) {
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &sandbox->filter) == 0;
}

static void unblock_signals(void) {
        sigset_t none;
        sigemptyset(&none);
        for (int i = 1; i < NSIG; i++)
                signal(i, SIG_DFL);
        sigprocmask(SIG_SETMASK, &none, NULL);
}

_Noreturn static void fail(const struct child *c, enum step step) {
        struct failure failure = { step, errno };
        ssize_t ignored = write(c->failure_fd, &failure, sizeof failure);
        (void) ignored;
        _exit(127);
}

/* The service may have died already, and its pid is not visible from a namespace of our own: but nobody else holds the
 * other end of the pipe. */
static bool die_with_parent(const struct child *c) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return false;
        struct pollfd hung_up = { .fd = c->failure_fd };
        return poll(&hung_up, 1, 0) >= 0 && !(hung_up.revents & POLLERR);
}

_Noreturn static void be_child(const struct child *c) {
        uint64_t flags = c->sandbox->flags;
        unblock_signals();
        close(c->service_fd);
        if (!die_with_parent(c))
                fail(c, STEP_PARENT);
        if (setpgid(0, 0) < 0)
                fail(c, STEP_GROUP);
        if ((flags & CLONE_NEWUSER) && !map_user(c))
                fail(c, STEP_USER);
        if ((flags & CLONE_NEWNS) && !make_read_only(c))
                fail(c, STEP_MOUNTS);
        if ((flags & CLONE_NEWNS) && !make_writable(c))
                fail(c, STEP_WRITABLE);
        if (!c->options) {
                if (access(c->writable[0], W_OK) < 0 || ((flags & CLONE_NEWNS) && !is_read_only()))
                        fail(c, STEP_TRY);
                _exit(0);
        }
        setpriority(PRIO_PROCESS, 0, NICE); /* the service's answers come first */
        if (!set_limits(c))
                fail(c, STEP_LIMITS);
        if (!set_files(c))
                fail(c, STEP_FILES);
        if (!drop_capabilities())
                fail(c, STEP_CAPABILITIES);
        if (!filter_calls(c->sandbox))
                fail(c, STEP_SECCOMP);
        if (!die_with_parent(c)) /* again: giving up privileges may have undone it */
                fail(c, STEP_PARENT);
        execve(c->options->argv[0], (char *const *) c->options->argv, (char *const *) c->options->environment);
        fail(c, STEP_EXEC);
}

/* ---- in the service ---- */

static void reap(int pidfd) {
        siginfo_t info;
        while (waitid(P_PIDFD, (id_t) pidfd, &info, WEXITED) < 0 && errno == EINTR)
                continue;
}

/* Reads what the child says before it executes; nothing is success. */
static int await(int fd, struct hook_sandboxed *child, const char *name, struct zp_error *err) {
        struct failure failure;
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
        struct child child = { sandbox, options, writable, ends[1], ends[0], null_fd, "", "" };
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
                be_child(&child);
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
        int r = out->has_cgroup ? hook_cgroup_make(sandbox->cgroups, options->memory, PROCESSES, &out->cgroup, err) : 0;
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
