/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes packs for the tests: devices with known contents, written to unnamed temporary files.
 */
#ifndef PACK_FIXTURE_H
#define PACK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/pool.h"
#include "pack/writer.h"

struct packed {
        int fd;
        uint8_t *index;
        struct zp_pack_info info;
};

static inline int temporary_file(void) {
        int fd = memfd_create("pack-test", MFD_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static inline uint64_t file_size(int fd) {
        struct stat st;
        assert_int_equal(fstat(fd, &st), 0);
        return (uint64_t) st.st_size;
}

static inline uint8_t *file_bytes(int fd) {
        size_t size = file_size(fd);
        uint8_t *bytes = malloc(size + 1);
        assert_non_null(bytes);
        assert_int_equal(pread(fd, bytes, size, 0), size);
        return bytes;
}

/* Text-like, random and zero stretches in turn, the same for the same size. */
static inline uint8_t *sample_device(size_t size) {
        static const char words[] = "the quick brown fox jumps over the lazy dog and runs into 0123456789 ";
        uint8_t *data = malloc(size + 1);
        assert_non_null(data);
        uint64_t state = 88172645463325252U;
        for (size_t i = 0; i < size; i++) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                switch (i / 10000 % 3) {
                case 0:
                        data[i] = (uint8_t) words[(i + (state % 5 == 0)) % (sizeof words - 1)];
                        break;
                case 1:
                        data[i] = (uint8_t) state;
                        break;
                default:
                        data[i] = 0;
                }
        }
        return data;
}

static inline struct packed pack_bytes(const void *data, size_t size, uint32_t frame_size, unsigned threads) {
        struct zp_error err = { 0 };
        struct zp_pool *pool = NULL;
        struct zp_pack_writer *writer = NULL;
        struct zp_pack_options options = { .frame_size = frame_size };
        struct packed packed = { .fd = temporary_file() };
        int index_fd = temporary_file();
        assert_int_equal(zp_pool_new(threads, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(packed.fd, "test.pack", &options, pool, &writer, &err), 0);
        assert_int_equal(zp_pack_writer_append(writer, data, size, &err), 0);
        assert_int_equal(zp_pack_writer_finish(writer, index_fd, "test.index", &packed.info, &err), 0);
        zp_pack_writer_free(writer);
        zp_pool_free(pool);
        packed.index = file_bytes(index_fd);
        assert_int_equal(file_size(index_fd), packed.info.index_size);
        close(index_fd);
        return packed;
}

static inline void packed_clear(struct packed *packed) {
        close(packed->fd);
        free(packed->index);
}

#endif
