/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "snapshotter/supervisor/supervisor-internal.h"

/* Above those that a manager or a shell uses. */
#define LOWEST 10

int snap_handed_leave(const char *variable, int fd) {
        char number[16];
        int copy = fcntl(fd, F_DUPFD, LOWEST);
        snprintf(number, sizeof number, "%d", copy);
        if (copy < 0 || setenv(variable, number, 1) == 0)
                return copy;
        close(copy);
        return -1;
}

void snap_handed_revoke(const char *variable, int copy) {
        unsetenv(variable);
        if (copy >= 0)
                close(copy);
}

int snap_handed_take(const char *variable) {
        const char *text = getenv(variable);
        int number = text ? atoi(text) : -1;
        int found = number >= LOWEST ? fcntl(number, F_DUPFD_CLOEXEC, LOWEST) : -1;
        if (found >= 0)
                close(number);
        unsetenv(variable);
        return found;
}
