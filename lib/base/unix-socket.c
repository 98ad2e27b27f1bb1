/* SPDX-License-Identifier: Apache-2.0 */
#include "base/unix-socket.h"

#include <string.h>

#include "base/cleanup.h"

int zp_unix_address(const char *path, struct sockaddr_un *out, struct zp_error *err) {
        size_t size = strlen(path) + 1;
        *out = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if (size == 1)
                return zp_error_set(err, EINVAL, "socket '': no path");
        if (size > sizeof out->sun_path)
                return zp_error_set(err, ENAMETOOLONG, "socket '%s': longer than %zu bytes", path,
                                    sizeof out->sun_path - 1);
        memcpy(out->sun_path, path, size);
        return 0;
}

int zp_unix_connect(const char *path, int type, struct zp_error *err) {
        struct sockaddr_un address;
        int r = zp_unix_address(path, &address, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof address) < 0)
                return zp_error_errno(err, errno, "socket '%s'", path);
        return zp_steal_fd(&fd);
}

int zp_unix_send(int socket, const char *text, int fd, const char *name, struct zp_error *err) {
        struct iovec data = { .iov_base = (void *) text, .iov_len = strlen(text) };
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr header;
        } control = { 0 };
        struct msghdr message = { .msg_iov = &data, .msg_iovlen = 1 };
        if (fd >= 0) {
                message.msg_control = &control;
                message.msg_controllen = sizeof control.bytes;
                struct cmsghdr *header = CMSG_FIRSTHDR(&message);
                header->cmsg_level = SOL_SOCKET;
                header->cmsg_type = SCM_RIGHTS;
                header->cmsg_len = CMSG_LEN(sizeof fd);
                memcpy(CMSG_DATA(header), &fd, sizeof fd);
        }
        return sendmsg(socket, &message, MSG_NOSIGNAL) < 0 ? zp_error_errno(err, errno, "%s", name) : 0;
}
