/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/service.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/unix-socket.h"
#include "controller/node/keeper.h"
#include "controller/log.h"

#define MESSAGE_MAX 4096
#define LISTEN_FD 3
#define RETRY_MS 1000
#define RESTART_MS 1000

struct service {
        const struct node_service *options;
        char *notify_path;
        int notify_fd, signal_fd, keeper_fd, kept_fd;
        bool is_kept; /* the keeper has kept_fd, too */
        pid_t daemon; /* 0: it does not run */
        bool is_ending;
        int exit_code;
};

/* ---- the keeper ---- */

static void say(struct zp_error *err) {
        ctl_log(CTL_LOG_WARNING, "%s", err->message);
}

/* At the start: what the last pod's daemon has left. Later: it gets what we have. */
static void meet_keeper(struct service *s, bool is_start) {
        struct zp_error err = { 0 };
        s->keeper_fd = node_keeper_connect(s->options->keeper, &err);
        if (s->keeper_fd >= 0 && is_start) {
                s->kept_fd = node_keeper_take(s->keeper_fd, s->options->name, &err);
                s->is_kept = s->kept_fd >= 0;
                if (s->is_kept)
                        ctl_log(CTL_LOG_INFO, "the keeper has '%s' from the last pod", s->options->name);
        } else if (s->keeper_fd < 0 && is_start) {
                ctl_log(CTL_LOG_WARNING, "%s; it is tried again", err.message);
        }
}

static void give_to_keeper(struct service *s) {
        struct zp_error err = { 0 };
        if (s->keeper_fd < 0 || s->kept_fd < 0 || s->is_kept)
                return;
        s->is_kept = node_keeper_keep(s->keeper_fd, s->options->name, s->kept_fd, &err) == 0;
        if (!s->is_kept)
                say(&err);
}

static void lose_keeper(struct service *s) {
        ctl_log(CTL_LOG_WARNING, "the keeper has gone; it is tried again");
        zp_cleanup_fd(&s->keeper_fd);
        s->keeper_fd = -1;
        s->is_kept = false;
}

/* ---- the daemon ---- */

/* In the child. */
static void become(const struct service *s) {
        char pid[16];
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        setenv("NOTIFY_SOCKET", s->notify_path, 1);
        setenv("ZEROPULL_MOUNT_STAYS", "1", 1);
        if (s->kept_fd >= 0) {
                snprintf(pid, sizeof pid, "%d", (int) getpid());
                setenv("LISTEN_PID", pid, 1);
                setenv("LISTEN_FDS", "1", 1);
                setenv("LISTEN_FDNAMES", s->options->name, 1);
                if (s->kept_fd == LISTEN_FD)
                        fcntl(LISTEN_FD, F_SETFD, 0);
                else
                        dup2(s->kept_fd, LISTEN_FD);
        }
        execv(s->options->argv[0], s->options->argv);
        ctl_log(CTL_LOG_ERROR, "start '%s': %s", s->options->argv[0], strerror(errno));
        _exit(127);
}

static int start_daemon(struct service *s, struct zp_error *err) {
        s->daemon = fork();
        if (s->daemon == 0)
                become(s);
        if (s->daemon > 0)
                return 0;
        s->daemon = 0;
        return zp_error_errno(err, errno, "start '%s'", s->options->argv[0]);
}

/* As the first process of a container we get others' children, too. */
static void reap(struct service *s) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
                if (pid != s->daemon)
                        continue;
                s->daemon = 0;
                s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
                if (!s->is_ending)
                        ctl_log(CTL_LOG_WARNING, "'%s' has ended (%d); it is started again", s->options->argv[0],
                                s->exit_code);
        }
}

static void read_signals(struct service *s) {
        struct signalfd_siginfo info;
        while (read(s->signal_fd, &info, sizeof info) == sizeof info) {
                bool ends = info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT;
                s->is_ending |= ends;
                if (s->daemon && (ends || info.ssi_signo == SIGHUP))
                        kill(s->daemon, ends ? SIGTERM : SIGHUP);
        }
        reap(s);
}

/* ---- what it tells ---- */

static bool has_line(const char *text, const char *line) {
        size_t size = strlen(line);
        for (const char *at = text; at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL)
                if (strncmp(at, line, size) == 0 && (at[size] == '\n' || at[size] == '\0'))
                        return true;
        return false;
}

static void hear_daemon(struct service *s) {
        char text[MESSAGE_MAX];
        zp_autofree char *name = zp_format("FDNAME=%s", s->options->name);
        int fd = -1;
        if (node_packet_receive(s->notify_fd, text, sizeof text, &fd, NULL) < 0 || !name)
                return;
        if (has_line(text, "READY=1"))
                ctl_log(CTL_LOG_INFO, "'%s' is ready", s->options->argv[0]);
        if (fd >= 0 && has_line(text, "FDSTORE=1") && has_line(text, name)) {
                zp_cleanup_fd(&s->kept_fd);
                s->kept_fd = zp_steal_fd(&fd);
                s->is_kept = false;
        }
        zp_cleanup_fd(&fd);
}

/* ---- the loop ---- */

static int listen_to_daemon(struct service *s, struct zp_error *err) {
        struct sockaddr_un address;
        s->notify_path = zp_format("%s.notify", s->options->keeper);
        int r = s->notify_path ? zp_unix_address(s->notify_path, &address, err) : zp_error_errno(err, ENOMEM, "socket");
        if (r < 0)
                return r;
        s->notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        unlink(s->notify_path);
        mode_t before = umask(0177);
        r = s->notify_fd < 0 || bind(s->notify_fd, (struct sockaddr *) &address, sizeof address) < 0
                    ? zp_error_errno(err, errno, "socket '%s'", s->notify_path)
                    : 0;
        umask(before);
        return r;
}

static int watch_signals(struct service *s, struct zp_error *err) {
        static const int wanted[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };
        sigset_t set;
        sigemptyset(&set);
        for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
                sigaddset(&set, wanted[i]);
        sigprocmask(SIG_BLOCK, &set, NULL);
        s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return s->signal_fd < 0 ? zp_error_errno(err, errno, "signals") : 0;
}

static void wait_for_news(struct service *s) {
        struct pollfd fds[] = { { .fd = s->signal_fd, .events = POLLIN },
                                { .fd = s->notify_fd, .events = POLLIN },
                                { .fd = s->keeper_fd, .events = POLLIN } };
        if (poll(fds, 3, RETRY_MS) > 0) {
                if (fds[1].revents)
                        hear_daemon(s);
                if (fds[2].revents)
                        lose_keeper(s);
                if (fds[0].revents)
                        read_signals(s);
        } else if (s->keeper_fd < 0) {
                meet_keeper(s, false);
        }
        give_to_keeper(s);
}

static int serve(struct service *s, struct zp_error *err) {
        int r = 0;
        while (r == 0 && !(s->is_ending && !s->daemon)) {
                if (!s->daemon) {
                        r = start_daemon(s, err);
                        continue;
                }
                wait_for_news(s);
                if (!s->daemon && !s->is_ending) {
                        struct timespec pause = { .tv_sec = RESTART_MS / 1000 };
                        nanosleep(&pause, NULL);
                        read_signals(s);
                }
        }
        return r < 0 ? r : s->exit_code;
}

int node_service_run(const struct node_service *service, struct zp_error *err) {
        struct service s = { .options = service, .notify_fd = -1, .signal_fd = -1, .keeper_fd = -1, .kept_fd = -1 };
        int r = listen_to_daemon(&s, err);
        if (r == 0)
                r = watch_signals(&s, err);
        if (r == 0) {
                meet_keeper(&s, true);
                r = serve(&s, err);
        }
        if (s.notify_path)
                unlink(s.notify_path);
        free(s.notify_path);
        zp_cleanup_fd(&s.notify_fd);
        zp_cleanup_fd(&s.signal_fd);
        zp_cleanup_fd(&s.keeper_fd);
        zp_cleanup_fd(&s.kept_fd);
        return r;
}
