/* SPDX-License-Identifier: Apache-2.0 */
#include "base/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/unix-socket.h"

/* A path, or a name of the abstract kind that begins with '@'. */
int zp_notify_manager(const char *state, int fd, struct zp_error *err) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        const char *path = getenv("NOTIFY_SOCKET");
        size_t length = path ? strlen(path) : 0;
        if (length < 2 || length >= sizeof address.sun_path || (path[0] != '/' && path[0] != '@'))
                return 0;
        memcpy(address.sun_path, path, length);
        if (path[0] == '@')
                address.sun_path[0] = '\0';
        zp_autoclose int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        socklen_t size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + length);
        if (s < 0 || connect(s, (const struct sockaddr *) &address, size) < 0)
                return zp_error_errno(err, errno, "service manager '%s'", path);
        return zp_unix_send(s, state, fd, "service manager", err);
}
