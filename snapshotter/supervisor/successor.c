/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "snapshotter/supervisor/supervisor-internal.h"

#define PATIENCE_MS 10000
#define LOOK_NS 5000000

/* The exit status, -1 when it takes too long or is not known. */
static int await_end(pid_t pid) {
        uint64_t until = zp_monotonic_ms() + PATIENCE_MS;
        int status = -1;
        while (waitpid(pid, &status, WNOHANG) == 0) {
                if (zp_monotonic_ms() >= until) {
                        kill(pid, SIGKILL);
                        waitpid(pid, &status, 0);
                        return -1;
                }
                nanosleep(&(struct timespec){ .tv_nsec = LOOK_NS }, NULL);
        }
        return status;
}

/* What it has to say against it is said on the standard error, which it has from us. */
bool snap_successor_would_start(const struct snap_supervisor_options *options) {
        size_t count = 0;
        pid_t pid;
        if (!options->test_option)
                return true;
        while (options->argv[count])
                count++;
        zp_autofree char **argv = calloc(count + 2, sizeof *argv);
        if (!argv)
                return false;
        memcpy(argv, options->argv, count * sizeof *argv);
        argv[count] = (char *) options->test_option;
        if (options->test_variable && setenv(options->test_variable, options->test_value, true) < 0) {
                snap_log(options, true, "start '%s': %s", argv[0], strerror(errno));
                return false;
        }
        int code = posix_spawn(&pid, argv[0], NULL, NULL, argv, environ);
        if (options->test_variable)
                unsetenv(options->test_variable);
        if (code)
                snap_log(options, true, "start '%s': %s", argv[0], strerror(code));
        return code == 0 && await_end(pid) == 0;
}
