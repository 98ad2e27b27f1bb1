/* SPDX-License-Identifier: Apache-2.0
 *
 * Serves the files of a directory through lib/blockfs: `blockfs-serve MOUNT DIRECTORY DELAY_US KILL_EVERY_MS
 * [JOURNAL]`. The
 * files' names are hexadecimal numbers. Each read waits DELAY_US, so that some are always under way. When
 * KILL_EVERY_MS is not 0, the process that serves is killed that often, and another takes over; 0: nobody holds the
 * descriptor but the one process. Says "ready"; ends, with the number of kills, when its standard input does.
 */
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

#include "base/cleanup.h"
#include "base/pool.h"
#include "blockfs/blockfs.h"

#define SERVING_THREADS 3
#define DELAYING_THREADS 16

struct files {
        int directory_fd;
        useconds_t delay_us;
        const char *journal;
        struct zp_pool *pool;
};

struct delayed {
        struct zp_pool_item item;
        struct files *files;
        struct zp_blockfs_read *read;
        uint64_t id, offset;
        uint32_t size;
};

static int open_file(const struct files *files, uint64_t id) {
        char name[20];
        snprintf(name, sizeof name, "%llx", (unsigned long long) id);
        return openat(files->directory_fd, name, O_RDONLY | O_CLOEXEC);
}

static int find_size(void *context, uint64_t id, uint64_t *size) {
        struct stat st;
        zp_autoclose int fd = open_file(context, id);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        *size = (uint64_t) st.st_size;
        return 0;
}

static int lookup(void *context, const char *name, uint64_t *id, uint64_t *size) {
        *id = strtoull(name, NULL, 16);
        return *id > 1 ? find_size(context, *id, size) : -ENOENT;
}

static void answer(void *argument, unsigned worker) {
        (void) worker;
        struct delayed *delayed = argument;
        uint64_t size = 0;
        usleep(delayed->files->delay_us);
        zp_autoclose int fd = open_file(delayed->files, delayed->id);
        if (fd < 0 || find_size(delayed->files, delayed->id, &size) < 0) {
                zp_blockfs_answer_error(delayed->read, EIO);
        } else {
                uint64_t left = delayed->offset < size ? size - delayed->offset : 0;
                zp_blockfs_answer_file(delayed->read, fd, delayed->offset, left < delayed->size ? left : delayed->size);
        }
        free(delayed);
}

static void read_later(void *context, uint64_t id, uint64_t offset, uint32_t size, struct zp_blockfs_read *read) {
        struct files *files = context;
        struct delayed *delayed = calloc(1, sizeof *delayed);
        if (!delayed)
                abort();
        *delayed = (struct delayed){ .files = files, .read = read, .id = id, .offset = offset, .size = size };
        zp_pool_submit(files->pool, &delayed->item, answer, delayed);
}

static int serve(int fuse_fd, struct files *files) {
        static const struct zp_blockfs_ops ops = { .lookup = lookup, .find_size = find_size, .read = read_later };
        struct zp_error err = { 0 };
        if (zp_pool_new(DELAYING_THREADS, &files->pool, &err) < 0 ||
            zp_blockfs_serve(fuse_fd, files->journal, SERVING_THREADS, &ops, files, &err) < 0) {
                fprintf(stderr, "%s\n", err.message);
                return 1;
        }
        zp_pool_free(files->pool);
        return 0;
}

static pid_t start(int fuse_fd, struct files *files) {
        pid_t parent = getpid(), child = fork();
        if (child != 0)
                return child;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(getppid() == parent ? serve(fuse_fd, files) : 1);
}

/* Whether standard input ended within the time. */
static bool is_over(int timeout_ms) {
        struct pollfd input = { .fd = STDIN_FILENO, .events = POLLIN };
        return poll(&input, 1, timeout_ms) > 0;
}

int main(int argc, char **argv) {
        if (argc < 5)
                return 2;
        struct zp_error err = { 0 };
        struct files files = { .directory_fd = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC) };
        files.journal = argv[5]; /* or NULL */
        files.delay_us = (useconds_t) atoi(argv[3]);
        int kill_every_ms = atoi(argv[4]), kills = 0, status = 0;
        bool can_resend;
        int fuse_fd = zp_blockfs_mount(argv[1], &can_resend, &err);
        if (fuse_fd < 0) {
                fprintf(stderr, "%s\n", err.message);
                return 1;
        }
        printf("ready %s\n", can_resend ? "resend" : "no-resend");
        fflush(stdout);
        if (kill_every_ms == 0)
                return serve(fuse_fd, &files);
        pid_t child = start(fuse_fd, &files);
        for (; !is_over(kill_every_ms); kills++) {
                kill(child, SIGKILL);
                waitpid(child, NULL, 0);
                child = start(fuse_fd, &files);
        }
        if (zp_blockfs_unmount(argv[1], &err) < 0)
                fprintf(stderr, "%s\n", err.message);
        waitpid(child, &status, 0);
        printf("killed %d\n", kills);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
