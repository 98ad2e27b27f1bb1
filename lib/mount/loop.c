/* SPDX-License-Identifier: Apache-2.0 */
#include "mount/loop.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/file.h"

/* Between asking for a free device and taking it another process may take it. */
#define ATTEMPTS 64
/* EROFS has 4 KiB blocks; smaller reads only cost. */
#define LOOP_BLOCK_SIZE 4096
#define BACKING_FILE_MAX 65536

/* -EBUSY: somebody else was faster. */
static int take(int control, int fd, char *path, size_t path_size, struct zp_error *err) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
                return zp_error_errno(err, errno, "find a free loop device");
        snprintf(path, path_size, "/dev/loop%d", number);
        zp_autoclose int loop = open(path, O_RDONLY | O_CLOEXEC);
        if (loop < 0)
                return zp_error_errno(err, errno, "open '%s'", path);
        struct loop_config config = {
                .fd = (unsigned) fd,
                .block_size = LOOP_BLOCK_SIZE,
                .info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR },
        };
        if (ioctl(loop, LOOP_CONFIGURE, &config) < 0)
                return zp_error_errno(err, errno, "set up '%s'", path);
        return zp_steal_fd(&loop);
}

int zp_loop_attach(int fd, char *path, size_t path_size, struct zp_error *err) {
        zp_autoclose int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
        if (control < 0) {
                int r = zp_error_errno(err, errno, "open '/dev/loop-control'");
                zp_error_hint(err, "this kernel mounts only block devices: loop devices are needed ('modprobe loop')");
                return r;
        }
        int r = -EBUSY;
        for (int i = 0; i < ATTEMPTS && r == -EBUSY; i++)
                r = take(control, fd, path, path_size, err);
        return r;
}

char *zp_loop_backing_file(const char *device) {
        static const char directory[] = "/dev/";
        zp_autofree char *path = NULL, *text = NULL;
        size_t size;
        if (strncmp(device, directory, sizeof directory - 1) != 0 || strchr(device + sizeof directory - 1, '/'))
                return NULL;
        if (asprintf(&path, "/sys/block/%s/loop/backing_file", device + sizeof directory - 1) < 0) {
                path = NULL;
                return NULL;
        }
        if (zp_read_file(AT_FDCWD, path, BACKING_FILE_MAX, &text, &size, NULL) < 0 || size == 0)
                return NULL;
        if (text[size - 1] == '\n')
                text[size - 1] = '\0';
        return zp_steal(&text);
}
