/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/statistics.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/condition.h"
#include "base/file.h"
#include "snapshotter/data/data.h"

#define TEXT_MAX 8192

/* In the child, whose parent has threads: nothing but system calls. */
static _Noreturn void copy_file(const char *path, int out) {
        char text[1024];
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out, STDOUT_FILENO);
        close_range(STDOUT_FILENO + 1, ~0U, 0); /* sockets that would outlive their owner in here */
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                _exit(errno == ENOENT ? ENOENT : EIO);
        for (ssize_t size; (size = read(fd, text, sizeof text)) != 0;)
                if (size < 0 || write(STDOUT_FILENO, text, (size_t) size) != size)
                        _exit(EIO);
        _exit(0);
}

/* One that waits is enough: the next answer is for all. */
static bool is_child_left(struct snap_statistics_asker *asker) {
        if (asker->child && waitpid(asker->child, NULL, WNOHANG) != 0)
                asker->child = 0;
        return asker->child != 0;
}

/* Up to the end of the pipe; -ETIMEDOUT. */
static int read_pipe(int fd, unsigned timeout_ms, char text[TEXT_MAX]) {
        int64_t until = (int64_t) zp_monotonic_ms() + timeout_ms, left;
        size_t used = 0;
        while ((left = until - (int64_t) zp_monotonic_ms()) > 0) {
                struct pollfd wait = { .fd = fd, .events = POLLIN };
                if (poll(&wait, 1, (int) left) <= 0)
                        continue;
                ssize_t size = read(fd, text + used, TEXT_MAX - 1 - used);
                if (size <= 0) {
                        text[used] = '\0';
                        return size < 0 ? -errno : 0;
                }
                used += (size_t) size;
        }
        return -ETIMEDOUT;
}

/* Ends the child; returns the errno it ended with. */
static int end_child(struct snap_statistics_asker *asker, bool is_done) {
        int status;
        if (!is_done)
                kill(asker->child, SIGKILL);
        if (waitpid(asker->child, &status, is_done ? 0 : WNOHANG) != asker->child)
                return 0;
        asker->child = 0;
        return WIFEXITED(status) ? WEXITSTATUS(status) : 0;
}

static int parse(char *text, struct snap_statistics *out, struct zp_error *err) {
        char *rest = NULL;
        *out = (struct snap_statistics){ 0 };
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
                unsigned long long value;
                if (out->count == SNAP_STATISTICS_MAX ||
                    sscanf(line, "%31[a-z0-9_] %llu", out->items[out->count].name, &value) != 2)
                        return zp_error_set(err, EBADMSG, "statistics of the data plane: not understood");
                out->items[out->count++].value = value;
        }
        return 0;
}

int snap_statistics_ask(struct snap_statistics_asker *asker, const char *devices, unsigned timeout_ms,
                        struct snap_statistics *out, struct zp_error *err) {
        char text[TEXT_MAX];
        int ends[2];
        zp_autofree char *path = zp_format("%s/%s", devices, SNAP_DATA_STATISTICS);
        if (!path)
                return zp_error_errno(err, ENOMEM, "data plane");
        if (is_child_left(asker))
                return zp_error_set(err, ETIMEDOUT, "the data plane does not answer");
        if (pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "data plane");
        asker->child = _Fork();
        if (asker->child == 0)
                copy_file(path, ends[1]);
        int code = errno;
        close(ends[1]);
        if (asker->child < 0)
                asker->child = 0;
        int r = asker->child ? read_pipe(ends[0], timeout_ms, text) : -code;
        close(ends[0]);
        code = asker->child ? end_child(asker, r == 0) : 0;
        if (r == -ETIMEDOUT)
                return zp_error_set(err, ETIMEDOUT, "the data plane does not answer");
        if (r < 0 || code)
                return zp_error_errno(err, r < 0 ? -r : code, "'%s'", path);
        return parse(text, out, err);
}

uint64_t snap_statistics_get(const struct snap_statistics *statistics, const char *name) {
        for (size_t i = 0; i < statistics->count; i++)
                if (strcmp(statistics->items[i].name, name) == 0)
                        return statistics->items[i].value;
        return 0;
}

int snap_cache_use(const char *store, struct snap_cache_use *out, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/unpacked", store);
        *out = (struct snap_cache_use){ 0 };
        if (!path)
                return zp_error_errno(err, ENOMEM, "cache");
        zp_autoclosedir DIR *dir = zp_open_listing(AT_FDCWD, path);
        if (!dir)
                return errno == ENOENT ? 0 : zp_error_errno(err, errno, "'%s'", path);
        for (struct dirent *entry; (entry = zp_next_entry(dir));) {
                struct stat st;
                if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
                        continue;
                const char *end = strrchr(entry->d_name, '.');
                out->bytes += (uint64_t) st.st_blocks * 512;
                out->copies++;
                out->complete += end && strcmp(end, ".raw") == 0;
        }
        return 0;
}
