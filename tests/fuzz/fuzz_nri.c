/* SPDX-License-Identifier: Apache-2.0
 *
 * What containerd says to the NRI plugin, in whatever frames: a container that is asked about has all its names, and
 * what is answered is a message.
 */
#include <assert.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/node/nri-calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int check(void *context, const struct node_nri_container *c, struct zp_error *err) {
        (void) context;
        assert(c->id && c->name && c->pod && c->namespace);
        return c->annotation ? zp_error_set(err, EPERM, "%s", c->annotation) : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const struct node_nri_options options = { .annotation = "zeropull.dev/acceleration", .check = check };
        zp_autobuffer struct zp_buffer out = { 0 };
        int fds[2];
        node_nri_registered(data, size, NULL);
        node_nri_answer(&options, data, size, &out, NULL);
        if (size > 65536 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
                return 0;
        if (write(fds[1], data, size) == (ssize_t) size && shutdown(fds[1], SHUT_WR) == 0)
                node_nri_serve(&options, fds[0], NULL);
        close(fds[0]);
        close(fds[1]);
        return 0;
}
