/* SPDX-License-Identifier: Apache-2.0
 *
 * Hot content comes out in the order of its ranks, and blocks are found where they have come.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/file.h"
#include "builder/hot.h"

#define B 4096u

static uint64_t keep(struct zp_hot *hot, char letter, uint64_t size, uint32_t rank, bool continues) {
        char data[4 * B];
        uint64_t block;
        bool does;
        memset(data, letter, size);
        assert_int_equal(zp_hot_keep(hot, data, size, rank, &block, &does, NULL), 0);
        assert_int_equal(does, continues);
        return block;
}

static void content_comes_out_in_the_order_of_ranks(void **state) {
        (void) state;
        zp_autoclose int fd = memfd_create("hot", 0), pack_fd = memfd_create("pack", 0);
        struct zp_hot *hot;
        struct zp_pool *pool;
        struct zp_pack_writer *pack;
        assert_int_equal(zp_hot_new(fd, &hot, NULL), 0);
        uint64_t a = keep(hot, 'a', 2 * B, 7, false);
        uint64_t b = keep(hot, 'b', 1, 3, false);
        uint64_t c = keep(hot, 'c', B, 3, true);
        uint64_t mark = zp_hot_blocks(hot);
        keep(hot, 'x', B, 3, true);
        keep(hot, 'y', B, 0, false);
        zp_hot_rollback(hot, mark);
        assert_int_equal(zp_hot_blocks(hot), mark);
        uint64_t d = keep(hot, 'd', B, 7, false);
        uint64_t e = keep(hot, 'e', B, 5, false);
        assert_int_equal(zp_pool_new(1, &pool, NULL), 0);
        assert_int_equal(zp_pack_writer_new(pack_fd, "pack", NULL, pool, &pack, NULL), 0);
        assert_int_equal(zp_hot_write(hot, pack, NULL), 0);
        assert_int_equal(zp_pack_writer_offset(pack), 6 * B);
        assert_int_equal(zp_hot_place(hot, b), 0);
        assert_int_equal(zp_hot_place(hot, c), 1);
        assert_int_equal(zp_hot_place(hot, e), 2);
        assert_int_equal(zp_hot_place(hot, a), 3);
        assert_int_equal(zp_hot_place(hot, a + 1), 4);
        assert_int_equal(zp_hot_place(hot, d), 5);
        zp_pack_writer_free(pack);
        zp_pool_free(pool);
        zp_hot_free(hot);
}

static void a_full_disk_is_told(void **state) {
        (void) state;
        zp_autoclose int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
        struct zp_hot *hot;
        uint64_t block;
        bool continues;
        assert_int_equal(zp_hot_new(fd, &hot, NULL), 0);
        assert_int_equal(zp_hot_keep(hot, "x", 1, 0, &block, &continues, NULL), -ENOSPC);
        assert_int_equal(zp_hot_blocks(hot), 0);
        zp_hot_free(hot);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(content_comes_out_in_the_order_of_ranks),
                cmocka_unit_test(a_full_disk_is_told),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
