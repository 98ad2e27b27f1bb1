/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/cgroups.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "registry-hook/clock.h"
#include "registry-hook/log.h"

#define ROOT "/sys/fs/cgroup"
#define NAME "build-%" PRIu64
#define NAME_SIZE 32
/* Killed processes are gone after at most so long. */
#define GONE_MS 2000
#define VALUE_MAX 4096

struct hook_cgroups {
        int fd; /* of the cgroup that is ours */
        uint64_t count;
};

static int write_value(int dir, const char *name, const char *value, struct zp_error *err) {
        zp_autoclose int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "cgroup: %s", name)
                      : zp_write_all(fd, value, strlen(value), name, err);
}

/* The number behind `key` in a file of "key number" lines; 0 without one. */
static uint64_t read_value(int dir, const char *name, const char *key) {
        char text[VALUE_MAX + 1];
        zp_autoclose int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text, VALUE_MAX);
        text[size > 0 ? size : 0] = '\0';
        for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
                if (strncmp(line, key, strlen(key)) == 0 && line[strlen(key)] == ' ')
                        return strtoull(line + strlen(key), NULL, 10);
        return 0;
}

/* ---- ending one ---- */

static bool await_empty(int dir) {
        int64_t deadline = hook_monotonic_ms() + GONE_MS, left;
        zp_autoclose int fd = openat(dir, "cgroup.events", O_RDONLY | O_CLOEXEC);
        while (fd >= 0 && read_value(dir, "cgroup.events", "populated") &&
               (left = deadline - hook_monotonic_ms()) > 0) {
                struct pollfd changed = { .fd = fd, .events = POLLPRI };
                char ignored[VALUE_MAX];
                if (pread(fd, ignored, sizeof ignored, 0) < 0 || poll(&changed, 1, left > 100 ? 100 : (int) left) < 0)
                        break;
        }
        return !read_value(dir, "cgroup.events", "populated");
}

static void remove_cgroup(const struct hook_cgroups *cgroups, const char *name, int dir) {
        if (write_value(dir, "cgroup.kill", "1", NULL) < 0 || !await_empty(dir) ||
            unlinkat(cgroups->fd, name, AT_REMOVEDIR) < 0)
                hook_log(HOOK_LOG_WARNING, "cgroup %s cannot be removed: %s", name, strerror(errno));
}

bool hook_cgroup_end(struct hook_cgroups *cgroups, struct hook_cgroup *cgroup) {
        char name[NAME_SIZE];
        snprintf(name, sizeof name, NAME, cgroup->number);
        bool ran_out = read_value(cgroup->fd, "memory.events", "oom_kill") > 0;
        remove_cgroup(cgroups, name, cgroup->fd);
        close(cgroup->fd);
        cgroup->fd = -1;
        return ran_out;
}

/* ---- making one ---- */

int hook_cgroup_make(struct hook_cgroups *cgroups, uint64_t memory, uint64_t processes, struct hook_cgroup *out,
                     struct zp_error *err) {
        char name[NAME_SIZE], text[32];
        out->number = cgroups->count++;
        snprintf(name, sizeof name, NAME, out->number);
        if (mkdirat(cgroups->fd, name, 0700) < 0)
                return zp_error_errno(err, errno, "cgroup %s", name);
        zp_autoclose int fd = openat(cgroups->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = fd < 0 ? zp_error_errno(err, errno, "cgroup %s", name) : 0;
        snprintf(text, sizeof text, "%" PRIu64, processes);
        if (r == 0)
                r = write_value(fd, "pids.max", text, err);
        snprintf(text, sizeof text, "%" PRIu64, memory);
        if (r == 0 && memory)
                r = write_value(fd, "memory.max", text, err);
        if (r == 0 && memory)
                write_value(fd, "memory.swap.max", "0", NULL); /* there may be no accounting of swap */
        if (r == 0)
                r = write_value(fd, "memory.oom.group", "1", err);
        if (r < 0)
                unlinkat(cgroups->fd, name, AT_REMOVEDIR);
        else
                out->fd = zp_steal_fd(&fd);
        return r;
}

/* ---- the part of the tree that is ours ---- */

/* The line "0::/system.slice/zeropull-hook.service" of /proc/self/cgroup. */
static int open_own(int *out, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        struct statfs st;
        if (statfs(ROOT, &st) < 0 || st.f_type != CGROUP2_SUPER_MAGIC)
                return zp_error_set(err, ENOTSUP, "cgroups: no version 2 at " ROOT);
        int r = zp_read_file(AT_FDCWD, "/proc/self/cgroup", VALUE_MAX, &text, &size, err);
        if (r < 0)
                return r;
        const char *line = strncmp(text, "0::", 3) == 0 ? text : strstr(text, "\n0::");
        if (!line)
                return zp_error_set(err, ENOTSUP, "cgroups: this process is in none of version 2");
        line = strchr(line, '/');
        zp_autofree char *path = line ? zp_format(ROOT "%.*s", (int) strcspn(line, "\n"), line) : NULL;
        *out = path ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
        return *out < 0 ? zp_error_errno(err, errno, "cgroup '%s'", path ? path : "") : 0;
}

static bool is_delegated(int dir) {
        static const char *const marks[] = { "user.delegate", "trusted.delegate" };
        char value[2];
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
                if (fgetxattr(dir, marks[i], value, sizeof value) == 1 && value[0] == '1')
                        return true;
        return geteuid() != 0 && faccessat(dir, "cgroup.procs", W_OK, AT_EACCESS) == 0 &&
               faccessat(dir, "cgroup.subtree_control", W_OK, AT_EACCESS) == 0;
}

static bool has_controllers(int dir) {
        char text[VALUE_MAX + 2] = " ";
        zp_autoclose int fd = openat(dir, "cgroup.controllers", O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text + 1, VALUE_MAX);
        text[size > 0 ? size : 0] = ' '; /* instead of the line's end */
        text[size > 0 ? size + 1 : 0] = '\0';
        return strstr(text, " memory ") && strstr(text, " pids ");
}

static void remove_left(struct hook_cgroups *cgroups) {
        DIR *listing = fdopendir(dup(cgroups->fd));
        for (struct dirent *entry; listing && (entry = zp_next_entry(listing));) {
                if (strncmp(entry->d_name, "build-", 6) != 0)
                        continue;
                zp_autoclose int fd = openat(cgroups->fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd >= 0)
                        remove_cgroup(cgroups, entry->d_name, fd);
        }
        if (listing)
                closedir(listing);
}

/* Processes are in leaves only: before controllers are handed on, this one goes down. */
static int take_over(int dir, struct zp_error *err) {
        zp_autoclose int service = -1;
        if (mkdirat(dir, "service", 0700) < 0 && errno != EEXIST)
                return zp_error_errno(err, errno, "cgroup 'service'");
        service = openat(dir, "service", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int r = service < 0 ? zp_error_errno(err, errno, "cgroup 'service'")
                            : write_value(service, "cgroup.procs", "0", err);
        if (r < 0)
                return r;
        r = write_value(dir, "cgroup.subtree_control", "+memory +pids", err);
        if (r < 0 && write_value(dir, "cgroup.procs", "0", NULL) == 0)
                unlinkat(dir, "service", AT_REMOVEDIR);
        return r;
}

int hook_cgroups_open(struct hook_cgroups **out, struct zp_error *err) {
        zp_autoclose int fd = -1;
        int r = open_own(&fd, err);
        if (r < 0)
                return r;
        if (!is_delegated(fd))
                return zp_error_set(err, EACCES, "cgroups: ours was not delegated");
        if (!has_controllers(fd))
                return zp_error_set(err, ENOTSUP, "cgroups: no memory and pids controllers");
        struct hook_cgroups *cgroups = calloc(1, sizeof *cgroups);
        if (!cgroups)
                return zp_error_errno(err, ENOMEM, "cgroups");
        r = take_over(fd, err);
        cgroups->fd = r < 0 ? -1 : zp_steal_fd(&fd);
        if (r < 0) {
                free(cgroups);
                return r;
        }
        remove_left(cgroups);
        *out = cgroups;
        return 0;
}

void hook_cgroups_free(struct hook_cgroups *cgroups) {
        close(cgroups->fd);
        free(cgroups);
}
