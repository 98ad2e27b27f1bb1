/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/child.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"

/* A signal that comes just before the wait is seen this late at most. */
#define LOOK_MS 200

/* What the child hands back. */
struct outcome {
        int result;
        struct zp_error error;
};

static void run_child(int out_fd, pid_t parent, int (*work)(void *, struct zp_error *), void *context) {
        struct outcome outcome = { .result = -EOWNERDEAD };
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
                outcome.result = work(context, &outcome.error);
        /* into a pipe that has room for it, whole */
        _exit(write(out_fd, &outcome, sizeof outcome) == sizeof outcome ? 0 : 1);
}

uint64_t cli_now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Waits until the child has something to tell or is no more. True: it was told to stop because it is late. */
static bool wait_for_news(int fd, pid_t child, uint64_t deadline_ms, const struct zp_cancel *cancel) {
        bool is_told = false, is_late = false;
        struct pollfd news = { .fd = fd, .events = POLLIN };
        while (poll(&news, 1, LOOK_MS) <= 0) {
                if (is_told || (cli_now_ms() < deadline_ms && !zp_cancelled(cancel)))
                        continue;
                is_late = !zp_cancelled(cancel);
                kill(child, SIGTERM);
                is_told = true;
        }
        return is_late;
}

int cli_in_child(int (*work)(void *context, struct zp_error *err), void *context, const struct zp_cancel *cancel,
                 struct zp_error *err) {
        return cli_in_child_until(UINT64_MAX, work, context, cancel, err);
}

int cli_in_child_until(uint64_t deadline_ms, int (*work)(void *context, struct zp_error *err), void *context,
                       const struct zp_cancel *cancel, struct zp_error *err) {
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return zp_error_errno(err, errno, "start a process");
        zp_autoclose int in_fd = ends[0];
        pid_t parent = getpid(), child = fork();
        if (child == 0)
                run_child(ends[1], parent, work, context);
        int code = errno;
        close(ends[1]);
        if (child < 0)
                return zp_error_errno(err, code, "start a process");
        bool is_late = wait_for_news(in_fd, child, deadline_ms, cancel);
        struct outcome outcome;
        bool is_whole = read(in_fd, &outcome, sizeof outcome) == sizeof outcome;
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
                ;
        if (is_late && (!is_whole || outcome.result == -ECANCELED))
                return zp_error_set(err, ETIMEDOUT, "it takes too long");
        if (!is_whole)
                return zp_error_set(err, EIO, "its process was ended by signal %d",
                                    WIFSIGNALED(status) ? WTERMSIG(status) : 0);
        if (outcome.result < 0)
                *err = outcome.error;
        return outcome.result;
}
