/* SPDX-License-Identifier: Apache-2.0
 *
 * A pack that streams by is checked against its index.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/file.h"
#include "pack/writer.h"
#include "ship/frames.h"

static char *pack, *index_bytes;
static size_t pack_size, index_size;
static struct zp_pack_index pack_index;

/* Three frames, the last one short. */
static int make(void **state) {
        (void) state;
        static const char data[] = "what a frame holds";
        char directory[] = "/tmp/zp-frames-XXXXXX";
        struct zp_pool *pool;
        struct zp_pack_writer *writer;
        struct zp_pack_info info;
        struct zp_pack_options packing = { .frame_size = 8192 };
        assert_non_null(mkdtemp(directory));
        int dir_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int pack_fd = openat(dir_fd, "pack", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        int index_fd = openat(dir_fd, "index", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(zp_pool_new(1, &pool, NULL), 0);
        assert_int_equal(zp_pack_writer_new(pack_fd, "pack", &packing, pool, &writer, NULL), 0);
        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(zp_pack_writer_append(writer, data, sizeof data, NULL), 0);
        assert_int_equal(zp_pack_writer_finish(writer, index_fd, "index", &info, NULL), 0);
        assert_int_equal(info.frames, 3);
        zp_pack_writer_free(writer);
        zp_pool_free(pool);
        assert_int_equal(zp_read_file(dir_fd, "pack", 1 << 20, &pack, &pack_size, NULL), 0);
        assert_int_equal(zp_read_file(dir_fd, "index", 1 << 20, &index_bytes, &index_size, NULL), 0);
        close(pack_fd);
        close(index_fd);
        close(dir_fd);
        zp_remove_tree(AT_FDCWD, directory, NULL);
        return zp_pack_index_parse(index_bytes, index_size, &info.index_digest, "pack", &pack_index, NULL);
}

static int drop(void **state) {
        (void) state;
        free(pack);
        free(index_bytes);
        return 0;
}

/* What comes of the first `size` bytes in pieces of `step`. */
static int take(size_t size, size_t step, bool *is_complete) {
        struct zp_frames frames;
        struct zp_error err = { 0 };
        int r = zp_frames_begin(&frames, &pack_index, &err);
        for (size_t at = 0; r == 0 && at < size; at += step)
                r = zp_frames_take(&frames, pack + at, step < size - at ? step : size - at, &err);
        assert_int_equal(err.code, -r);
        *is_complete = zp_frames_complete(&frames);
        zp_frames_clear(&frames);
        return r;
}

static void a_good_pack_passes_however_it_is_cut(void **state) {
        (void) state;
        bool is_complete;
        for (size_t step = 1; step <= pack_size; step += step < 64 ? 1 : 61) {
                assert_int_equal(take(pack_size, step, &is_complete), 0);
                assert_true(is_complete);
        }
}

static void a_part_is_not_the_whole(void **state) {
        (void) state;
        bool is_complete;
        struct zp_pack_frame last = zp_pack_index_frame(&pack_index, 2);
        assert_int_equal(take(last.packed_offset + last.packed_size - 1, 100, &is_complete), 0);
        assert_false(is_complete);
        assert_int_equal(take(last.packed_offset + last.packed_size, 100, &is_complete), 0);
        assert_true(is_complete);
}

static void any_changed_byte_of_a_frame_is_found(void **state) {
        (void) state;
        bool is_complete;
        struct zp_pack_frame last = zp_pack_index_frame(&pack_index, 2);
        for (size_t at = 0; at < last.packed_offset + last.packed_size; at++) {
                pack[at] ^= 0x10;
                assert_int_equal(take(pack_size, 50, &is_complete), -EBADMSG);
                assert_false(is_complete);
                pack[at] ^= 0x10;
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_good_pack_passes_however_it_is_cut),
                cmocka_unit_test(a_part_is_not_the_whole),
                cmocka_unit_test(any_changed_byte_of_a_frame_is_found),
        };
        return cmocka_run_group_tests(tests, make, drop);
}
