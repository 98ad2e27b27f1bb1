/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/supervisor/supervisor-internal.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"

#define LISTEN_FDS_START 3
#define LISTEN_FDS_MAX 16

/* A path, or a name of the abstract kind that begins with '@'. */
static bool manager_address(struct sockaddr_un *address, socklen_t *size) {
        const char *path = getenv("NOTIFY_SOCKET");
        size_t length = path ? strlen(path) : 0;
        if (length < 2 || length >= sizeof address->sun_path || (path[0] != '/' && path[0] != '@'))
                return false;
        *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
        memcpy(address->sun_path, path, length);
        if (path[0] == '@')
                address->sun_path[0] = '\0';
        *size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length);
        return true;
}

void snap_manager_notify(const char *message, int fd) {
        struct sockaddr_un address;
        socklen_t size;
        if (!manager_address(&address, &size))
                return;
        zp_autoclose int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct iovec text = { .iov_base = (void *) message, .iov_len = strlen(message) };
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr header;
        } control = { 0 };
        struct msghdr datagram = { .msg_name = &address, .msg_namelen = size, .msg_iov = &text, .msg_iovlen = 1 };
        if (fd >= 0) {
                datagram.msg_control = &control;
                datagram.msg_controllen = sizeof control.bytes;
                struct cmsghdr *header = CMSG_FIRSTHDR(&datagram);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof fd);
                memcpy(CMSG_DATA(header), &fd, sizeof fd);
        }
        if (sock >= 0 && sendmsg(sock, &datagram, MSG_NOSIGNAL) < 0)
                return; /* a manager that does not listen is not told */
}

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
