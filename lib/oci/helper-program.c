/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/helper-program.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"

#define DEADLINE_MS 30000
#define INPUT_MAX 4096u         /* a pipe takes that much without waiting */
#define OUTPUT_MAX (256u << 10) /* ECR's tokens have some KiB */
#define POLL_MS 100

extern char **environ;

static int64_t now_ms(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t) t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Starts the program with in_fd and out_fd as its standard streams, nothing blocked, nothing ignored. */
static int start(const struct zp_helper_program *program, int in_fd, int out_fd, pid_t *pid, struct zp_error *err) {
        posix_spawn_file_actions_t files;
        posix_spawnattr_t attributes;
        sigset_t none, all;
        sigemptyset(&none);
        sigfillset(&all);
        posix_spawn_file_actions_init(&files);
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setsigdefault(&attributes, &all);
        posix_spawn_file_actions_adddup2(&files, in_fd, STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
        posix_spawn_file_actions_addopen(&files, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
        int code = posix_spawnp(pid, program->arguments[0], &files, &attributes, program->arguments,
                                program->environment ? program->environment : environ);
        posix_spawn_file_actions_destroy(&files);
        posix_spawnattr_destroy(&attributes);
        if (code == 0)
                return 0;
        zp_error_errno(err, code, "start '%s'", program->arguments[0]);
        zp_error_hint(err, "%s", program->missing_hint);
        return -code;
}

/* Reads all output until the program closes it. */
static int read_output(int fd, const char *program, const struct zp_cancel *cancel, struct zp_buffer *out,
                       struct zp_error *err) {
        int64_t deadline = now_ms() + DEADLINE_MS;
        for (;;) {
                struct pollfd p = { .fd = fd, .events = POLLIN };
                int ready = poll(&p, 1, POLL_MS);
                if (ready < 0 && errno != EINTR)
                        return zp_error_errno(err, errno, "read from '%s'", program);
                int r = zp_check_cancel(cancel, err);
                if (r < 0)
                        return r;
                if (now_ms() > deadline)
                        return zp_error_set(err, ETIMEDOUT, "'%s' took longer than %d s", program, DEADLINE_MS / 1000);
                if (ready <= 0)
                        continue;
                char piece[4096];
                ssize_t n = read(fd, piece, sizeof piece);
                if (n < 0 && errno != EINTR)
                        return zp_error_errno(err, errno, "read from '%s'", program);
                if (n == 0)
                        return 0;
                if (n > 0 && out->size + (size_t) n > OUTPUT_MAX)
                        return zp_error_set(err, EFBIG, "'%s' printed more than %u KiB", program, OUTPUT_MAX >> 10);
                if (n > 0 && !zp_buffer_append(out, piece, (size_t) n))
                        return zp_error_errno(err, ENOMEM, "read from '%s'", program);
        }
}

/* Waits for the end of the program, which has closed its output; kills it when it failed or lingers. */
static int reap(pid_t pid, bool kill_now) {
        zp_autoclose int pidfd = (int) syscall(SYS_pidfd_open, pid, 0);
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        if (kill_now || pidfd < 0 || poll(&p, 1, 1000) <= 0)
                kill(pid, SIGKILL);
        int status;
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -1;
        return status;
}

int zp_helper_program_run(const struct zp_helper_program *program, const struct zp_cancel *cancel,
                          struct zp_buffer *output, int *status, struct zp_error *err) {
        const char *name = program->arguments[0];
        if (strlen(program->input) > INPUT_MAX)
                return zp_error_errno(err, EINVAL, "'%s'", name);
        int in[2], out[2];
        if (pipe2(in, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "pipe");
        zp_autoclose int in_read = in[0], in_write = in[1];
        if (pipe2(out, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "pipe");
        zp_autoclose int out_read = out[0], out_write = out[1];
        /* Written while this process still holds the other end: a program that does not read cannot raise SIGPIPE. */
        int r = zp_write_all(in_write, program->input, strlen(program->input), name, err);
        close(zp_steal_fd(&in_write));
        pid_t pid;
        if (r == 0)
                r = start(program, in_read, out_write, &pid, err);
        if (r < 0)
                return r;
        close(zp_steal_fd(&out_write));
        r = read_output(out_read, name, cancel, output, err);
        *status = reap(pid, r < 0);
        return r;
}
