/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies behind the data of a device's local copy, as a crash or a stranger may have left it. The data is one page
 * of a device of three frames; no frame may count as good that the file does not say is.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DEVICE_SIZE 12288
#define FRAMES 3
#define FILE_NAME "abababababababababababababababababababababababababababababababab.part"

static int directory_fd = -1;
static char path[] = "/tmp/fuzz-record-XXXXXX";

static void remove_files(void) {
        static const char *const ends[] = { "part", "raw" };
        for (int i = 0; i < 2; i++) {
                char name[80];
                snprintf(name, sizeof name, "%.65s%s", FILE_NAME, ends[i]);
                unlinkat(directory_fd, name, 0);
        }
}

static void remove_directory(void) {
        remove_files();
        rmdir(path);
}

static void open_directory(void) {
        assert(mkdtemp(path));
        directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert(directory_fd >= 0);
        atexit(remove_directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE] = { 7 };
        struct zp_digest device;
        struct zp_record record;
        struct zp_error err = { 0 };
        uint32_t good, frames;
        memset(&device, 0xab, sizeof device);
        if (directory_fd < 0)
                open_directory();
        int fd = openat(directory_fd, FILE_NAME, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert(fd >= 0 && pwrite(fd, data, size, DEVICE_SIZE) == (ssize_t) size);
        close(fd);
        assert(zp_record_look(directory_fd, &device, DEVICE_SIZE, &good, &frames, &err) <= 0);
        assert(good <= frames);
        int r = zp_record_open(directory_fd, &device, DEVICE_SIZE, FRAMES, boot_id, &record, &err);
        if (r == 0) {
                uint32_t missing = 0;
                for (uint32_t i = 0; i < FRAMES; i++)
                        missing += !zp_record_has(&record, i);
                assert(missing == record.missing);
                zp_record_close(&record);
        }
        remove_files();
        return 0;
}
