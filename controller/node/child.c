/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"

#define OUTPUT_MAX ((size_t) 8 << 20)
#define PATIENCE_MS 10000
#define LOOK_MS 200
#define SECRET_FD 3
#define LINE_MAX 4096

struct child {
        pid_t pid;
        int out_fd, err_fd;
        const struct node_run *run;
        char line[LINE_MAX]; /* of stderr, as far as it has come */
        size_t line_size;
};

static uint64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ---- starting ---- */

/* A file without a name, read only. */
static int make_secret(const char *text, struct zp_error *err) {
        zp_autoclose int fd = memfd_create("zeropull-credentials", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return zp_error_errno(err, errno, "credentials");
        int r = zp_write_all(fd, text, strlen(text), "credentials", err);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ||
            lseek(fd, 0, SEEK_SET) < 0)
                return zp_error_errno(err, errno, "credentials");
        return zp_steal_fd(&fd);
}

/* Between fork and exec of a process with threads: system calls only. */
static void become(const char *const *argv, int out, int error, int secret, pid_t parent) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        int null = open("/dev/null", O_RDONLY);
        if (getppid() != parent || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0)
                _exit(127);
        if (secret == SECRET_FD)
                fcntl(secret, F_SETFD, 0);
        else if (secret >= 0 && dup2(secret, SECRET_FD) < 0)
                _exit(127);
        execv(argv[0], (char *const *) argv);
        static const char message[] = "cannot be started\n";
        if (write(2, message, sizeof message - 1) < 0)
                _exit(126);
        _exit(127);
}

static int start(struct child *child, const struct node_run *run, struct zp_error *err) {
        int outs[2], errors[2];
        zp_autoclose int secret = run->secret ? make_secret(run->secret, err) : -1;
        if (run->secret && secret < 0)
                return secret;
        if (pipe2(outs, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "pipe");
        child->out_fd = outs[0];
        if (pipe2(errors, O_CLOEXEC) < 0) {
                int code = errno;
                close(outs[1]);
                return zp_error_errno(err, code, "pipe");
        }
        child->err_fd = errors[0];
        pid_t parent = getpid();
        child->pid = fork();
        int code = errno;
        if (child->pid == 0)
                become(run->argv, outs[1], errors[1], secret, parent);
        close(outs[1]);
        close(errors[1]);
        if (child->pid < 0)
                return zp_error_errno(err, code, "start '%s'", run->argv[0]);
        fcntl(child->out_fd, F_SETFL, O_NONBLOCK);
        fcntl(child->err_fd, F_SETFL, O_NONBLOCK);
        return 0;
}

/* ---- under way ---- */

/* The last line that is not a hint; "zeropull: " in front says nothing new. */
static void end_line(struct child *child, char *reason) {
        const char *line = child->line;
        child->line[child->line_size] = '\0';
        child->line_size = 0;
        if (!line[0] || strncmp(line, "  hint: ", 8) == 0)
                return;
        if (child->run->told && line[0] == '{') {
                child->run->told(child->run->context, line);
                return;
        }
        if (strncmp(line, "zeropull: ", 10) == 0)
                line += 10;
        snprintf(reason, NODE_REASON_SIZE, "%.*s", NODE_REASON_SIZE - 1, line);
}

static void add_talk(struct child *child, const char *data, size_t size, char *reason) {
        for (size_t i = 0; i < size; i++)
                if (data[i] == '\n')
                        end_line(child, reason);
                else if (child->line_size < sizeof child->line - 1)
                        child->line[child->line_size++] = (unsigned char) data[i] < 32 ? '?' : data[i];
}

/* Reads what there is; closes what has ended. */
static int read_both(struct child *child, struct node_outcome *out, struct zp_error *err) {
        char data[16384];
        ssize_t size = child->err_fd < 0 ? -1 : read(child->err_fd, data, sizeof data);
        if (size > 0)
                add_talk(child, data, (size_t) size, out->reason);
        if (size == 0 || (size < 0 && child->err_fd >= 0 && errno != EAGAIN && errno != EINTR)) {
                close(child->err_fd);
                child->err_fd = -1;
        }
        size = child->out_fd < 0 ? -1 : read(child->out_fd, data, sizeof data);
        if (size > 0 && out->output.size + (size_t) size > OUTPUT_MAX)
                return zp_error_set(err, EFBIG, "it wrote more than %zu bytes", OUTPUT_MAX);
        if (size > 0 && !zp_buffer_append(&out->output, data, (size_t) size))
                return zp_error_errno(err, ENOMEM, "its output");
        if (size == 0 || (size < 0 && child->out_fd >= 0 && errno != EAGAIN && errno != EINTR)) {
                close(child->out_fd);
                child->out_fd = -1;
        }
        return 0;
}

static int follow(struct child *child, struct node_outcome *out, struct zp_error *err) {
        const struct node_run *run = child->run;
        uint64_t late_ms = now_ms() + (uint64_t) run->timeout_s * 1000, kill_ms = UINT64_MAX;
        int r = 0;
        while (child->out_fd >= 0 || child->err_fd >= 0) {
                struct pollfd fds[2] = { { .fd = child->out_fd, .events = POLLIN },
                                         { .fd = child->err_fd, .events = POLLIN } };
                poll(fds, 2, LOOK_MS);
                int one = read_both(child, out, err);
                if (r == 0 && one < 0)
                        r = one;
                else if (r == 0 && zp_cancelled(run->cancel))
                        r = zp_error_set(err, ECANCELED, "interrupted");
                else if (r == 0 && now_ms() >= late_ms)
                        r = zp_error_set(err, ETIMEDOUT, "not done within %u s", run->timeout_s);
                if (r < 0 && kill_ms == UINT64_MAX) {
                        kill(-child->pid, SIGTERM);
                        kill(child->pid, SIGTERM); /* before it has made its group */
                        kill_ms = now_ms() + PATIENCE_MS;
                }
                if (now_ms() >= kill_ms)
                        break;
        }
        return r;
}

int node_run(const struct node_run *run, struct node_outcome *out, struct zp_error *err) {
        struct child child = { .run = run, .out_fd = -1, .err_fd = -1, .pid = -1 };
        int status = 0;
        *out = (struct node_outcome){ .exit_code = -1 };
        int r = start(&child, run, err);
        if (r == 0) {
                r = follow(&child, out, err);
                kill(-child.pid, SIGKILL); /* whatever is left of it */
                while (waitpid(child.pid, &status, 0) < 0 && errno == EINTR)
                        continue;
                end_line(&child, out->reason);
                out->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        }
        zp_cleanup_fd(&child.out_fd);
        zp_cleanup_fd(&child.err_fd);
        return r;
}

void node_outcome_clear(struct node_outcome *outcome) {
        zp_buffer_clear(&outcome->output);
}
