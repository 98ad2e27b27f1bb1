/* SPDX-License-Identifier: Apache-2.0
 *
 * The snapshotter's settings. What is accepted keeps what the rest of the daemon relies on.
 */
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "snapshotter/control/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct snap_config config;
        struct zp_error err = { 0 };
        char path[64];
        int fd = memfd_create("config", MFD_CLOEXEC);
        assert(fd >= 0 && write(fd, data, size) == (ssize_t) size);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        snap_config_init(&config);
        int r = snap_config_load(path, &config, &err);
        close(fd);
        assert((r < 0) == (err.message[0] != '\0'));
        if (r == 0) {
                assert(!config.root || config.root[0] == '/');
                assert(!config.address || config.address[0] == '/');
                assert(!config.store || config.store[0] == '/');
                assert(config.registry_timeout_s > 0);
        }
        snap_config_clear(&config);
        return 0;
}
