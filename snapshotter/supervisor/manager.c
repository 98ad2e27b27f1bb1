/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/supervisor/supervisor-internal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LISTEN_FDS_START 3
#define LISTEN_FDS_MAX 16

static bool is_mine(const char *pid) {
        return pid && atoi(pid) == (int) getpid();
}

static int count_left(void) {
        const char *count = getenv("LISTEN_FDS");
        return is_mine(getenv("LISTEN_PID")) && count ? atoi(count) : 0;
}

bool snap_manager_has_left(void) {
        return count_left() > 0;
}

int snap_manager_take(const char *name) {
        const char *names = getenv("LISTEN_FDNAMES");
        int count = count_left(), found = -1;
        for (int i = 0; i < count && i < LISTEN_FDS_MAX; i++) {
                size_t length = names ? strcspn(names, ":") : 0;
                int fd = LISTEN_FDS_START + i;
                if (found < 0 && names && length == strlen(name) && strncmp(names, name, length) == 0)
                        found = fcntl(fd, F_DUPFD_CLOEXEC, 10);
                close(fd);
                if (names)
                        names += length + (names[length] == ':');
        }
        unsetenv("LISTEN_PID");
        unsetenv("LISTEN_FDS");
        unsetenv("LISTEN_FDNAMES");
        return found;
}
