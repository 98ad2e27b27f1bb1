/* SPDX-License-Identifier: Apache-2.0
 *
 * The contents of files, read through their extents from the packs of a store: all of it, at any offset; and what is
 * not there, or is damaged, is told from what cannot be read.
 */
#include "../store/store-fixture.h"
#include "base/bytes.h"
#include "builder/file-reader.h"
#include "pack/writer.h"

#define KIB(n) ((size_t) (n) << 10)
#define DEVICE_SIZE KIB(3 << 10)
#define FRAME_SIZE KIB(64)
/* What the reader unpacks at a time, how many of those it remembers, and how many it unpacks in its life. */
#define PIECE_SIZE KIB(512)
#define REMEMBERED 32u
#define PIECES_MAX 1024u

struct reading {
        struct world *w;
        struct zp_erofs_device devices[4];
        uint16_t device_count;
        struct zp_file_reader *reader;
};

static uint8_t contents[2][DEVICE_SIZE];

static int reading_setup(void **state) {
        uint32_t x = 1;
        for (size_t i = 0; i < 2 * DEVICE_SIZE; i++) {
                x = x * 1664525 + 1013904223;
                contents[i / DEVICE_SIZE][i % DEVICE_SIZE] = (uint8_t) (x >> 24);
        }
        struct reading *reading = calloc(1, sizeof *reading);
        *state = reading;
        return reading ? world_setup((void **) &reading->w) : -1;
}

static int reading_teardown(void **state) {
        struct reading *reading = *state;
        zp_file_reader_free(reading->reader);
        int r = world_teardown((void **) &reading->w);
        free(reading);
        return r;
}

#define reader_test(name) cmocka_unit_test_setup_teardown(name, reading_setup, reading_teardown)

/* ---- devices ---- */

/* Puts one into the store, of `data` or zeros (NULL), and at the end of the table. */
static const struct zp_digest *put_packed(struct reading *reading, const uint8_t *data, size_t size,
                                          uint32_t frame_size, bool is_complete) {
        struct world *w = reading->w;
        struct zp_pack_info info;
        zp_auto(zp_pool_free) struct zp_pool *pool = NULL;
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_auto(zp_pack_writer_free) struct zp_pack_writer *writer = NULL;
        must(w, zp_pool_new(2, &pool, &w->err));
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int pack_fd = zp_staging_create(staging, "device.zst", &w->err);
        zp_autoclose int index_fd = zp_staging_create(staging, "device.idx", &w->err);
        const struct zp_pack_options options = { .frame_size = frame_size };
        must(w, zp_pack_writer_new(pack_fd, "device.zst", &options, pool, &writer, &w->err));
        must(w, data ? zp_pack_writer_append(writer, data, size, &w->err)
                     : zp_pack_writer_append_zeros(writer, size, &w->err));
        must(w, zp_pack_writer_finish(writer, index_fd, "device.idx", &info, &w->err));
        const struct zp_device_record record = { .digest = info.index_digest,
                                                 .index_size = info.index_size,
                                                 .pack_size = info.pack_size,
                                                 .device_size = info.device_size,
                                                 .frame_size = frame_size,
                                                 .is_complete = is_complete };
        must(w, zp_staging_commit_device(staging, &record, &w->err));
        struct zp_erofs_device *device = &reading->devices[reading->device_count++];
        *device = (struct zp_erofs_device){ info.index_digest, info.device_size / ZP_BLOCK_SIZE };
        return &device->digest;
}

static const struct zp_digest *put_contents(struct reading *reading, int which) {
        return put_packed(reading, contents[which], DEVICE_SIZE, FRAME_SIZE, true);
}

static const char *path_of(const struct reading *reading, const struct zp_digest *device, const char *file) {
        return below(reading->w, "devices/%s/%s", hex_of(device), file);
}

static void damage(const char *path, off_t at) {
        zp_autoclose int fd = open(path, O_RDWR | O_CLOEXEC);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, at), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, at), 1);
}

/* ---- files ---- */

#define FILE_OF(...)                                                                                   \
        {                                                                                              \
                .mode = S_IFREG | 0644, .extents = (struct zp_extent[]){ __VA_ARGS__ },                \
                .extent_count = sizeof((struct zp_extent[]){ __VA_ARGS__ }) / sizeof(struct zp_extent) \
        }

static int try_read(struct reading *reading, const struct zp_inode *inode, uint64_t offset, void *out, size_t size) {
        struct world *w = reading->w;
        if (!reading->reader)
                must(w,
                     zp_file_reader_new(w->store, reading->devices, reading->device_count, &reading->reader, &w->err));
        return zp_file_reader_read(reading->reader, inode, offset, out, size, &w->err);
}

static void assert_reads(struct reading *reading, const struct zp_inode *inode, uint64_t offset,
                         const uint8_t *expected, size_t size) {
        zp_autofree uint8_t *out = malloc(size + 1);
        out[size] = 0xa5;
        if (try_read(reading, inode, offset, out, size) < 0)
                fail_msg("%zu bytes at %llu: %s", size, (unsigned long long) offset, reading->w->err.message);
        assert_memory_equal(out, expected, size);
        assert_int_equal(out[size], 0xa5);
}

/* It is not to be had, which is no failure that anybody should hear of. */
static void assert_absent(struct reading *reading, const struct zp_inode *inode, uint64_t offset, size_t size) {
        zp_autofree uint8_t *out = malloc(size + 1);
        assert_int_equal(try_read(reading, inode, offset, out, size), -ENODATA);
        assert_int_equal(reading->w->err.code, 0);
}

/* ---- what is there ---- */

static void file_in_one_device_is_read_at_any_offset(void **state) {
        static const uint64_t edges[] = {
                0, 1, ZP_BLOCK_SIZE, FRAME_SIZE, PIECE_SIZE - 5 * ZP_BLOCK_SIZE, PIECE_SIZE, 4 * PIECE_SIZE + 77
        };
        const struct zp_inode file = FILE_OF({ .block = 5, .blocks = 700 });
        const uint8_t *expected = contents[0] + 5 * ZP_BLOCK_SIZE;
        put_contents(*state, 0);
        assert_reads(*state, &file, 0, expected, 700 * ZP_BLOCK_SIZE);
        for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
                for (size_t k = 0; k < sizeof edges / sizeof *edges; k++)
                        if (edges[i] + edges[k] <= 700 * ZP_BLOCK_SIZE)
                                assert_reads(*state, &file, edges[i], expected + edges[i], edges[k]);
        assert_reads(*state, &file, 700 * ZP_BLOCK_SIZE - 1, expected + 700 * ZP_BLOCK_SIZE - 1, 1);
}

static void file_of_several_extents_is_read_across_devices_and_backwards(void **state) {
        const struct zp_inode file =
                FILE_OF({ .block = 600, .blocks = 3, .device = 1 }, { .block = 2, .blocks = 1 },
                        { .block = 100, .blocks = 300, .device = 0 }, { .block = 0, .blocks = 2, .device = 1 });
        const struct zp_inode other = FILE_OF({ .block = 7, .blocks = 1, .device = 1 });
        size_t size = 0;
        zp_autofree uint8_t *expected = malloc(306 * ZP_BLOCK_SIZE);
        for (uint32_t i = 0; i < file.extent_count; i++) {
                const struct zp_extent *extent = &file.extents[i];
                memcpy(expected + size, contents[extent->device] + extent->block * ZP_BLOCK_SIZE,
                       extent->blocks * ZP_BLOCK_SIZE);
                size += extent->blocks * ZP_BLOCK_SIZE;
        }
        put_contents(*state, 0);
        put_contents(*state, 1);
        assert_reads(*state, &file, 0, expected, size);
        for (size_t offset = 0; offset + 5000 <= size; offset += 5000)
                assert_reads(*state, &file, offset, expected + offset, 5000);
        for (size_t offset = size; offset >= 3001; offset -= 3001)
                assert_reads(*state, &file, offset - 3001, expected + offset - 3001, 3001);
        assert_reads(*state, &file, size - 100, expected + size - 100, 100);
        assert_reads(*state, &other, 10, contents[1] + 7 * ZP_BLOCK_SIZE + 10, 20);
        assert_reads(*state, &file, size - 100, expected + size - 100, 100);
}

static void holes_are_zeros(void **state) {
        const struct zp_inode file = FILE_OF({ .block = ZP_HOLE, .blocks = 2 }, { .block = 9, .blocks = 1 },
                                             { .block = ZP_HOLE, .blocks = 1 });
        const struct zp_inode hole = FILE_OF({ .block = ZP_HOLE, .blocks = UINT64_C(1) << 30, .device = 3 });
        uint8_t expected[4 * ZP_BLOCK_SIZE] = { 0 };
        memcpy(expected + 2 * ZP_BLOCK_SIZE, contents[0] + 9 * ZP_BLOCK_SIZE, ZP_BLOCK_SIZE);
        put_contents(*state, 0);
        assert_reads(*state, &file, 0, expected, sizeof expected);
        assert_reads(*state, &file, 3 * ZP_BLOCK_SIZE - 10, expected + 3 * ZP_BLOCK_SIZE - 10, 20);
        assert_reads(*state, &hole, UINT64_C(1) << 41, expected, 2 * ZP_BLOCK_SIZE);
}

static void nothing_is_read_of_a_file_without_extents(void **state) {
        const struct zp_inode empty = { .mode = S_IFREG | 0644 };
        const struct zp_inode inside = { .mode = S_IFREG | 0644, .data = contents[0], .size = 10 };
        assert_reads(*state, &empty, 0, contents[0], 0);
        assert_absent(*state, &empty, 0, 1);
        assert_absent(*state, &inside, 0, 10);
}

/* ---- what is not ---- */

static void what_lies_beyond_an_end_is_absent(void **state) {
        const struct zp_inode file = FILE_OF({ .block = 0, .blocks = 2 });
        const struct zp_inode over = FILE_OF({ .block = DEVICE_SIZE / ZP_BLOCK_SIZE - 1, .blocks = 300 });
        const struct zp_inode far = FILE_OF({ .block = UINT64_C(1) << 40, .blocks = 1 });
        const struct zp_inode of_no_device = FILE_OF({ .block = 0, .blocks = 1, .device = 1 });
        put_contents(*state, 0);
        assert_absent(*state, &file, 0, 2 * ZP_BLOCK_SIZE + 1);
        assert_absent(*state, &file, 2 * ZP_BLOCK_SIZE, 1);
        assert_absent(*state, &file, UINT64_MAX, 1);
        assert_absent(*state, &over, 0, ZP_BLOCK_SIZE + 1);
        assert_absent(*state, &over, 200 * ZP_BLOCK_SIZE, 1);
        assert_absent(*state, &far, 0, 1);
        assert_absent(*state, &of_no_device, 0, 1);
        assert_reads(*state, &over, 0, contents[0] + DEVICE_SIZE - ZP_BLOCK_SIZE, ZP_BLOCK_SIZE);
        assert_reads(*state, &file, 1, contents[0] + 1, 2 * ZP_BLOCK_SIZE - 1);
}

static void damaged_frame_is_absent_and_the_others_are_not(void **state) {
        struct reading *reading = *state;
        const struct zp_inode file = FILE_OF({ .block = 0, .blocks = DEVICE_SIZE / ZP_BLOCK_SIZE });
        damage(path_of(reading, put_contents(reading, 0), "device.zst"), PIECE_SIZE + PIECE_SIZE / 2);
        assert_reads(reading, &file, 0, contents[0], 100);
        assert_absent(reading, &file, PIECE_SIZE, PIECE_SIZE);
        assert_absent(reading, &file, 0, DEVICE_SIZE);
        assert_reads(reading, &file, 3 * PIECE_SIZE, contents[0] + 3 * PIECE_SIZE, 3 * PIECE_SIZE);
}

static void device_that_the_store_has_not_is_absent(void **state) {
        struct reading *reading = *state;
        struct zp_inode file = FILE_OF({ .block = 0, .blocks = 1 });
        struct zp_extent *extent = file.extents;
        reading->devices[reading->device_count++] =
                (struct zp_erofs_device){ digest_of_text("no such device"), DEVICE_SIZE / ZP_BLOCK_SIZE };
        put_packed(reading, contents[1], DEVICE_SIZE, FRAME_SIZE, false); /* its index alone */
        const struct zp_digest *removed = put_packed(reading, contents[1], DEVICE_SIZE / 2, FRAME_SIZE, true);
        assert_int_equal(unlink(path_of(reading, removed, "device.zst")), 0);
        const struct zp_digest *malformed = put_contents(reading, 0);
        damage(path_of(reading, malformed, "device.idx"), 40);
        for (int round = 0; round < 2; round++)
                for (extent->device = 0; extent->device < reading->device_count; extent->device++)
                        assert_absent(reading, &file, 0, 1);
}

/* Not a device that is not there, but a store that is not as any was written. */
static void index_of_a_size_that_none_has_is_a_failure(void **state) {
        struct reading *reading = *state;
        const struct zp_inode file = FILE_OF({ .block = 0, .blocks = 1 });
        uint8_t byte;
        put_contents(reading, 0);
        run_sql(reading->w, "UPDATE devices SET index_size = 1 << 40");
        assert_int_equal(try_read(reading, &file, 0, &byte, 1), -EFBIG);
        assert_non_null(strstr(reading->w->err.message, "device.idx"));
}

/* ---- limits ---- */

static void reading_ends_after_so_many_pieces(void **state) {
        struct reading *reading = *state;
        const unsigned pieces = REMEMBERED + 8; /* in turn, so that none is still remembered */
        const struct zp_inode file = FILE_OF({ .block = 0, .blocks = pieces * PIECE_SIZE / ZP_BLOCK_SIZE });
        uint8_t byte;
        unsigned count = 0;
        int r = 0;
        put_packed(reading, NULL, pieces * PIECE_SIZE, PIECE_SIZE, true);
        for (; r == 0 && count <= PIECES_MAX; count++)
                r = try_read(reading, &file, count % pieces * PIECE_SIZE, &byte, 1);
        assert_int_equal(r, -ENODATA);
        assert_int_equal(count, PIECES_MAX + 1);
        for (unsigned i = 1; i <= REMEMBERED; i++)
                assert_reads(reading, &file, (PIECES_MAX - i) % pieces * PIECE_SIZE, &(uint8_t){ 0 }, 1);
        assert_absent(reading, &file, (PIECES_MAX - REMEMBERED - 1) % pieces * PIECE_SIZE, 1);
}

static void what_is_remembered_is_not_counted(void **state) {
        const struct zp_inode file = FILE_OF({ .block = 0, .blocks = DEVICE_SIZE / ZP_BLOCK_SIZE });
        put_contents(*state, 0);
        for (size_t i = 0; i < 20 * PIECES_MAX; i++)
                assert_reads(*state, &file, i * 977 % (DEVICE_SIZE - 10), contents[0] + i * 977 % (DEVICE_SIZE - 10),
                             10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                reader_test(file_in_one_device_is_read_at_any_offset),
                reader_test(file_of_several_extents_is_read_across_devices_and_backwards),
                reader_test(holes_are_zeros),
                reader_test(nothing_is_read_of_a_file_without_extents),
                reader_test(what_lies_beyond_an_end_is_absent),
                reader_test(damaged_frame_is_absent_and_the_others_are_not),
                reader_test(device_that_the_store_has_not_is_absent),
                reader_test(index_of_a_size_that_none_has_is_a_failure),
                reader_test(reading_ends_after_so_many_pieces),
                reader_test(what_is_remembered_is_not_counted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
