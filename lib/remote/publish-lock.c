/* SPDX-License-Identifier: Apache-2.0
 *
 * A lock between the processes and threads of one machine (more exactly: one network namespace): an abstract Unix
 * socket that only one can bind. It leaves no file behind, and dies with its holder. It is a courtesy that saves
 * publishers repeated attempts; what makes them right is that each looks whether its entry has stayed.
 */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "oci/fetch.h"
#include "remote/registry-internal.h"

#define POLL_MS 25u
#define WAIT_MAX_MS 10000u /* a publication takes a second; who holds the lock for longer hangs, or means us ill */

int zp_publish_lock(const char *remote, const struct zp_digest *subject, const struct zp_cancel *cancel, int *fd,
                    struct zp_error *err) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct zp_digest digest;
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_autobuffer struct zp_buffer key = { 0 };
        *fd = -1;
        if (!zp_buffer_text(&key, remote) || !zp_buffer_text(&key, zp_digest_text(subject, text)))
                return zp_error_errno(err, ENOMEM, "publish");
        zp_digest_of(key.data, key.size, &digest);
        int n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "zeropull-publish-%s",
                         zp_digest_hex(&digest, text));
        socklen_t size = (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1 + (size_t) n);
        zp_autoclose int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (s < 0)
                return 0;
        for (unsigned waited = 0; waited < WAIT_MAX_MS; waited += POLL_MS) {
                if (bind(s, (const struct sockaddr *) &address, size) == 0) {
                        *fd = zp_steal_fd(&s);
                        return 0;
                }
                if (errno != EADDRINUSE)
                        return 0;
                if (!zp_pause(POLL_MS, cancel))
                        return zp_check_cancel(cancel, err);
        }
        return 0;
}
