/* SPDX-License-Identifier: Apache-2.0
 *
 * erofs-merge [--flat] OUT LAYER…: loads layer metadata, lowest first, merges it and writes the snapshot metadata.
 * Each layer has one device. Prints the number of blocks.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/limits.h"
#include "erofs/reader.h"
#include "layer/merge.h"

#define FILE_MAX (UINT64_C(1) << 30)

static int fail(const struct zp_error *err) {
        fprintf(stderr, "erofs-merge: %s\n", err->message);
        return 1;
}

int main(int argc, char **argv) {
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE };
        struct zp_erofs_device devices[ZP_LIMIT_LAYERS];
        struct zp_tree *trees[ZP_LIMIT_LAYERS], *merged = NULL;
        uint16_t first_devices[ZP_LIMIT_LAYERS];
        char *files[ZP_LIMIT_LAYERS];
        struct zp_erofs_result result;
        struct zp_error err = { 0 };
        int first = 1;
        if (argc > 1 && strcmp(argv[1], "--flat") == 0) {
                options.layout = ZP_EROFS_FLAT;
                first++;
        }
        if (argc < first + 2 || argc > first + 1 + ZP_LIMIT_LAYERS) {
                fputs("usage: erofs-merge [--flat] OUT LAYER…\n", stderr);
                return 2;
        }
        uint16_t count = (uint16_t) (argc - first - 1);
        for (uint16_t i = 0; i < count; i++) {
                zp_autofree struct zp_erofs_device *own = NULL;
                uint16_t own_count;
                size_t size;
                if (zp_read_file(AT_FDCWD, argv[first + 1 + i], FILE_MAX, &files[i], &size, &err) < 0 ||
                    zp_erofs_load(files[i], size, &trees[i], &own, &own_count, &err) < 0)
                        return fail(&err);
                if (own_count != 1) {
                        zp_error_set(&err, EINVAL, "'%s' has %u devices", argv[first + 1 + i], own_count);
                        return fail(&err);
                }
                devices[i] = own[0];
                first_devices[i] = i;
        }
        options.devices = devices;
        options.device_count = count;
        zp_autoclose int fd = open(argv[first], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (fd < 0 || zp_tree_merge(trees, first_devices, count, &merged, &err) < 0 ||
            zp_erofs_write(merged, &options, fd, argv[first], &result, &err) < 0)
                return fail(&err);
        printf("%" PRIu64 "\n", result.blocks);
        zp_tree_free(merged);
        for (uint16_t i = 0; i < count; i++) {
                zp_tree_free(trees[i]);
                free(files[i]);
        }
        return 0;
}
