/* SPDX-License-Identifier: Apache-2.0
 *
 * Between clone and exec the child calls nothing but system calls: the service has many threads, and whatever lock one
 * of them held stays locked for ever in the child.
 */
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "registry-hook/sandbox-internal.h"

/* linux/mount.h, which libc's sys/mount.h does not get along with */
#define ATTRIBUTE_RDONLY 0x1u
#define ATTRIBUTE_NOSUID 0x2u
struct attributes {
        uint64_t set, clear, propagation, user_ns;
};

#define OPEN_FILES 4096
#define NICE 10

static bool write_file(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t) strlen(text);
        if (fd >= 0)
                close(fd);
        return is_written;
}

/* Ourselves, and nobody else. */
static bool map_user(const struct hook_sandbox_child *c) {
        return write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", c->user_map) &&
               write_file("/proc/self/gid_map", c->group_map);
}

static bool set_attributes(const char *path, unsigned flags, uint64_t set, uint64_t clear) {
        struct attributes attributes = { .set = set, .clear = clear };
        return syscall(SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes) == 0;
}

/* A mount of its own for each writable directory, before all becomes read-only. */
static bool make_read_only(const struct hook_sandbox_child *c) {
        if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return false;
        for (size_t i = 0; i < HOOK_SANDBOX_WRITABLE; i++)
                if (c->writable[i] && mount(c->writable[i], c->writable[i], NULL, MS_BIND, NULL) < 0)
                        return false;
        return set_attributes("/", AT_RECURSIVE, ATTRIBUTE_RDONLY | ATTRIBUTE_NOSUID, 0);
}

static bool make_writable(const struct hook_sandbox_child *c) {
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

static bool set_limits(const struct hook_sandbox_child *c) {
        const struct hook_sandbox_options *o = c->options;
        return limit(RLIMIT_CORE, 0) && limit(RLIMIT_NOFILE, OPEN_FILES) &&
               (!o->memory || limit(RLIMIT_DATA, o->memory)) && (!o->file_size || limit(RLIMIT_FSIZE, o->file_size)) &&
               (!o->cpu_s || limit(RLIMIT_CPU, o->cpu_s)) &&
               /* counted for the user in this namespace alone */
               (!(c->sandbox->flags & CLONE_NEWUSER) || limit(RLIMIT_NPROC, HOOK_SANDBOX_PROCESSES));
}

static bool move_fd(int from, int to) {
        return from == to ? fcntl(from, F_SETFD, 0) == 0 : dup2(from, to) == to;
}

/* All others are close-on-exec, or belong to libraries that forgot. */
static bool set_files(const struct hook_sandbox_child *c) {
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

_Noreturn static void fail(const struct hook_sandbox_child *c, enum hook_sandbox_step step) {
        struct hook_sandbox_failure failure = { step, errno };
        ssize_t ignored = write(c->failure_fd, &failure, sizeof failure);
        (void) ignored;
        _exit(127);
}

/* The service may have died already, and its pid is not visible from a namespace of our own: but nobody else holds the
 * other end of the pipe. */
static bool die_with_parent(const struct hook_sandbox_child *c) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
                return false;
        struct pollfd hung_up = { .fd = c->failure_fd };
        return poll(&hung_up, 1, 0) >= 0 && !(hung_up.revents & POLLERR);
}

_Noreturn void hook_sandbox_be_child(const struct hook_sandbox_child *c) {
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
