/* SPDX-License-Identifier: Apache-2.0
 *
 * What a pack promises to any reader of zstd and of its seekable format, and what the writer promises to
 * its callers. Frames are decoded here by libzstd and by the zstd program alone.
 */
#include "pack-fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <zstd.h>

#include "base/limits.h"

#define FRAME 16384

/* What a plain zstd decoder makes of the whole file. */
static uint8_t *decode_stream(const uint8_t *packed, size_t packed_size, size_t *size) {
        size_t capacity = (size_t) 8 << 20;
        uint8_t *data = malloc(capacity);
        assert_non_null(data);
        *size = ZSTD_decompress(data, capacity, packed, packed_size);
        assert_false(ZSTD_isError(*size));
        return data;
}

static void assert_unpacks_to(const struct packed *packed, const uint8_t *data, size_t size) {
        uint8_t *bytes = file_bytes(packed->fd);
        size_t decoded_size;
        uint8_t *decoded = decode_stream(bytes, file_size(packed->fd), &decoded_size);
        size_t whole = zp_round_up(size, 4096);
        assert_int_equal(decoded_size, whole);
        assert_memory_equal(decoded, data, size);
        assert_true(zp_is_zero(decoded + size, whole - size));
        assert_int_equal(packed->info.device_size, whole);
        assert_int_equal(packed->info.pack_size, file_size(packed->fd));
        free(decoded);
        free(bytes);
}

static void any_zstd_decoder_restores_the_device(void **state) {
        (void) state;
        static const size_t sizes[] = { 0, 1, 4095, 4096, FRAME - 1, FRAME, FRAME + 1, 5 * FRAME, 1000001 };
        uint8_t *data = sample_device(1000001);
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                struct packed packed = pack_bytes(data, sizes[i], FRAME, 3);
                assert_unpacks_to(&packed, data, sizes[i]);
                assert_int_equal(packed.info.frames, (zp_round_up(sizes[i], 4096) + FRAME - 1) / FRAME);
                packed_clear(&packed);
        }
        free(data);
}

static void the_seek_table_follows_the_seekable_format(void **state) {
        (void) state;
        size_t size = 10 * FRAME + 4096;
        uint8_t *data = sample_device(size);
        struct packed packed = pack_bytes(data, size, FRAME, 2);
        uint8_t *bytes = file_bytes(packed.fd);
        size_t end = file_size(packed.fd);

        assert_int_equal(zp_get_le32(bytes + end - 4), 0x8F92EAB1);
        assert_int_equal(bytes[end - 5], 0); /* no checksums, reserved bits zero */
        assert_int_equal(zp_get_le32(bytes + end - 9), 11);
        size_t table = end - 9 - 11 * 8;
        assert_int_equal(zp_get_le32(bytes + table - 8), 0x184D2A5E);
        assert_int_equal(zp_get_le32(bytes + table - 4), 11 * 8 + 9);
        size_t at = 0;
        for (size_t i = 0; i < 11; i++) {
                uint32_t packed_size = zp_get_le32(bytes + table + 8 * i);
                uint32_t plain_size = zp_get_le32(bytes + table + 8 * i + 4);
                assert_int_equal(plain_size, i < 10 ? FRAME : 4096);
                assert_int_equal(ZSTD_findFrameCompressedSize(bytes + at, end - at), packed_size);
                assert_int_equal(ZSTD_getFrameContentSize(bytes + at, packed_size), plain_size);
                at += packed_size;
        }
        assert_int_equal(at, table - 8);
        free(bytes);
        packed_clear(&packed);
        free(data);
}

static void the_index_lists_each_frame_with_its_digest(void **state) {
        (void) state;
        size_t size = 3 * FRAME + 100;
        uint8_t *data = sample_device(size);
        struct packed packed = pack_bytes(data, size, FRAME, 2);
        uint8_t *bytes = file_bytes(packed.fd);
        const uint8_t *index = packed.index;

        assert_int_equal(packed.info.index_size, 32 + 4 * 40);
        assert_memory_equal(index, "ZPIX\1\0\0\0", 8);
        assert_int_equal(zp_get_le32(index + 8), FRAME);
        assert_int_equal(zp_get_le32(index + 12), 4);
        assert_int_equal(zp_get_le64(index + 16), 3 * FRAME + 4096);
        assert_int_equal(zp_get_le64(index + 24), file_size(packed.fd));
        size_t at = 0;
        for (size_t i = 0; i < 4; i++) {
                const uint8_t *entry = index + 32 + 40 * i;
                size_t packed_size = ZSTD_findFrameCompressedSize(bytes + at, file_size(packed.fd) - at);
                struct zp_digest digest;
                zp_digest_of(bytes + at, packed_size, &digest);
                assert_int_equal(zp_get_le64(entry), at);
                assert_memory_equal(entry + 8, digest.bytes, 32);
                at += packed_size;
        }
        struct zp_digest digest;
        zp_digest_of(index, packed.info.index_size, &digest);
        assert_true(zp_digest_equal(&digest, &packed.info.index_digest));
        free(bytes);
        packed_clear(&packed);
        free(data);
}

static void bytes_do_not_depend_on_threads_or_pieces(void **state) {
        (void) state;
        size_t size = 700001;
        uint8_t *data = sample_device(size);
        struct packed one = pack_bytes(data, size, FRAME, 1), many = pack_bytes(data, size, FRAME, 5);
        assert_true(zp_digest_equal(&one.info.index_digest, &many.info.index_digest));

        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_options options = { .frame_size = FRAME };
        struct zp_pack_info info;
        int fd = temporary_file(), index_fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fd, "pieces", &options, pool, &w, &err), 0);
        for (size_t at = 0, piece = 1; at < size; at += piece, piece = piece * 7 % 50000 + 1) {
                piece = zp_min_u64(piece, size - at);
                assert_int_equal(zp_pack_writer_append(w, data + at, piece, &err), 0);
                assert_int_equal(zp_pack_writer_offset(w), at + piece);
        }
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "pieces.index", &info, &err), 0);
        assert_true(zp_digest_equal(&one.info.index_digest, &info.index_digest));

        uint8_t *expected = file_bytes(one.fd), *actual = file_bytes(fd);
        assert_int_equal(file_size(one.fd), file_size(fd));
        assert_memory_equal(expected, actual, file_size(fd));
        free(expected);
        free(actual);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(index_fd);
        packed_clear(&one);
        packed_clear(&many);
        free(data);
}

/* Appends `before`, marks, appends `dropped`, goes back, appends `after`: as if there had been only before
 * and after. */
static void check_rollback(size_t before, size_t dropped, size_t after) {
        uint8_t *data = sample_device(before + dropped + after);
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_options options = { .frame_size = FRAME };
        struct packed packed = { .fd = temporary_file() };
        int index_fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(packed.fd, "rollback", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data, before, &err), 0);
        assert_int_equal(zp_pack_writer_mark(w, &err), 0);
        for (int i = 0; i < 2; i++) { /* the mark stays */
                assert_int_equal(zp_pack_writer_append(w, data + before, dropped, &err), 0);
                assert_int_equal(zp_pack_writer_rollback(w, &err), 0);
                assert_int_equal(zp_pack_writer_offset(w), before);
        }
        assert_int_equal(zp_pack_writer_append(w, data + before + dropped, after, &err), 0);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "rollback.index", &packed.info, &err), 0);
        memmove(data + before, data + before + dropped, after);
        assert_unpacks_to(&packed, data, before + after);
        struct packed straight = pack_bytes(data, before + after, FRAME, 1);
        assert_true(zp_digest_equal(&straight.info.index_digest, &packed.info.index_digest));
        packed_clear(&straight);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(packed.fd);
        close(index_fd);
        free(data);
}

static void rollback_leaves_no_trace(void **state) {
        (void) state;
        static const size_t before[] = { 0, 100, FRAME - 1, FRAME, 3 * FRAME + 5000, 40 * FRAME };
        static const size_t dropped[] = { 0, 1, 100, FRAME, 2 * FRAME, 30 * FRAME + 77 };
        static const size_t after[] = { 0, 1, 12345, 20 * FRAME };
        for (size_t i = 0; i < 6; i++)
                for (size_t j = 0; j < 6; j++)
                        for (size_t k = 0; k < 4; k++)
                                check_rollback(before[i], dropped[j], after[k]);
}

static struct zp_pack_writer *writer_of(int fd, struct zp_pool *pool, const uint8_t *data, size_t size) {
        struct zp_error err = { 0 };
        struct zp_pack_writer *w = NULL;
        struct zp_pack_options options = { .frame_size = FRAME };
        assert_int_equal(zp_pack_writer_new(fd, "part", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data, size, &err), 0);
        return w;
}

/* What a watcher has been told, and a copy of the bytes that were final then. */
struct watched {
        pthread_mutex_t lock;
        int fd;
        uint8_t bytes[64 * FRAME];
        uint64_t size;
};

static void copy_final_bytes(void *context, uint64_t size) {
        struct watched *watched = context;
        pthread_mutex_lock(&watched->lock);
        if (size > watched->size) {
                size_t more = size - watched->size;
                assert_int_equal(pread(watched->fd, watched->bytes + watched->size, more, (off_t) watched->size), more);
                watched->size = size;
        }
        pthread_mutex_unlock(&watched->lock);
}

static void told_bytes_are_never_changed(void **state) {
        (void) state;
        size_t size = 50 * FRAME + 321;
        uint8_t *data = sample_device(size);
        static struct watched watched = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_options options = { .frame_size = FRAME };
        struct zp_pack_info info;
        int index_fd = temporary_file();
        watched.fd = temporary_file();
        assert_int_equal(zp_pool_new(3, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(watched.fd, "watched", &options, pool, &w, &err), 0);
        zp_pack_writer_watch(w, copy_final_bytes, &watched);
        for (size_t at = 0, piece; at < size; at += piece) {
                piece = zp_min_u64(3 * FRAME + 1000, size - at);
                assert_int_equal(zp_pack_writer_mark(w, &err), 0);
                assert_int_equal(zp_pack_writer_append(w, data, 5 * FRAME, &err), 0);
                assert_int_equal(zp_pack_writer_rollback(w, &err), 0);
                assert_int_equal(zp_pack_writer_append(w, data + at, piece, &err), 0);
                zp_pack_writer_unmark(w);
        }
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "watched.index", &info, &err), 0);
        zp_pack_writer_free(w);
        uint8_t *bytes = file_bytes(watched.fd);
        assert_int_equal(watched.size, info.pack_size - (8 + (uint64_t) info.frames * 8 + 9)); /* all frames */
        assert_memory_equal(watched.bytes, bytes, watched.size);
        struct packed straight = pack_bytes(data, size, FRAME, 1);
        assert_true(zp_digest_equal(&straight.info.index_digest, &info.index_digest));
        packed_clear(&straight);
        free(bytes);
        zp_pool_free(pool);
        close(watched.fd);
        close(index_fd);
        free(data);
}

static void marked_bytes_are_told_when_they_are_kept(void **state) {
        (void) state;
        size_t size = 12 * FRAME;
        uint8_t *data = sample_device(size);
        static struct watched watched = { .lock = PTHREAD_MUTEX_INITIALIZER };
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        int index_fd = temporary_file();
        struct zp_pack_info info;
        watched.fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        w = writer_of(watched.fd, pool, data, 0);
        zp_pack_writer_watch(w, copy_final_bytes, &watched);
        assert_int_equal(zp_pack_writer_mark(w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data, size, &err), 0);
        pthread_mutex_lock(&watched.lock);
        assert_int_equal(watched.size, 0);
        pthread_mutex_unlock(&watched.lock);
        zp_pack_writer_unmark(w);
        pthread_mutex_lock(&watched.lock);
        assert_true(watched.size > 0); /* the ring has room for six frames: the first ones are written */
        pthread_mutex_unlock(&watched.lock);
        assert_int_equal(zp_pack_writer_rollback(w, &err), -EINVAL);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "kept.index", &info, &err), 0);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(watched.fd);
        close(index_fd);
        free(data);
}

/* Splices a writer of `behind` bytes behind one of `before` bytes: as if all had been appended to one. */
static void check_splice(size_t before, size_t behind) {
        uint8_t *data = sample_device(before + behind);
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        int fd = temporary_file(), from_fd = temporary_file(), index_fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        struct zp_pack_writer *w = writer_of(fd, pool, data, before);
        struct zp_pack_writer *from = writer_of(from_fd, pool, data + before, behind);
        struct zp_pack_info info;
        assert_int_equal(zp_pack_writer_splice(w, from, &err), 0);
        assert_int_equal(zp_pack_writer_offset(w), zp_round_up(before + behind, 4096));
        assert_int_equal(zp_pack_writer_append(w, data, 1, &err), -EINVAL);
        assert_int_equal(zp_pack_writer_splice(w, from, &err), -EINVAL);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "spliced.index", &info, &err), 0);
        struct packed straight = pack_bytes(data, before + behind, FRAME, 1);
        assert_true(zp_digest_equal(&straight.info.index_digest, &info.index_digest));
        assert_int_equal(straight.info.pack_size, info.pack_size);
        uint8_t *expected = file_bytes(straight.fd), *actual = file_bytes(fd);
        assert_int_equal(file_size(straight.fd), file_size(fd));
        assert_memory_equal(expected, actual, file_size(fd));
        free(expected);
        free(actual);
        packed_clear(&straight);
        zp_pack_writer_free(from);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(from_fd);
        close(index_fd);
        free(data);
}

static void splicing_frames_is_like_appending_their_bytes(void **state) {
        (void) state;
        static const size_t before[] = { 0, FRAME, 50 * FRAME };
        static const size_t behind[] = { 0, 1, 4096, FRAME, 30 * FRAME + 5000, 700 * FRAME };
        for (size_t i = 0; i < 3; i++)
                for (size_t j = 0; j < 6; j++)
                        check_splice(before[i], behind[j]);
}

static void frames_are_spliced_only_behind_whole_ones(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        uint8_t *data = sample_device(2 * FRAME);
        int fd = temporary_file(), from_fd = temporary_file();
        assert_int_equal(zp_pool_new(1, &pool, &err), 0);
        struct zp_pack_writer *w = writer_of(fd, pool, data, 100), *from = writer_of(from_fd, pool, data, FRAME);
        assert_int_equal(zp_pack_writer_splice(w, from, &err), -EINVAL);
        assert_int_equal(zp_pack_writer_append(w, data, FRAME - 100, &err), 0);
        assert_int_equal(zp_pack_writer_splice(w, from, &err), 0);
        zp_pack_writer_free(from);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(from_fd);
        free(data);
}

static void zeros_are_like_appended_zeros(void **state) {
        (void) state;
        size_t size = 100000;
        uint8_t *zeros = calloc(1, size);
        struct packed expected = pack_bytes(zeros, size, FRAME, 1);
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_options options = { .frame_size = FRAME };
        struct zp_pack_info info;
        int fd = temporary_file(), index_fd = temporary_file();
        assert_int_equal(zp_pool_new(1, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fd, "zeros", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_append_zeros(w, size, &err), 0);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "zeros.index", &info, &err), 0);
        assert_true(zp_digest_equal(&expected.info.index_digest, &info.index_digest));
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        close(index_fd);
        packed_clear(&expected);
        free(zeros);
}

static void a_full_disk_stops_the_writer_with_its_error(void **state) {
        (void) state;
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
        assert_true(full >= 0);
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        struct zp_pack_info info;
        struct zp_pack_options options = { .frame_size = FRAME };
        size_t size = 100 * FRAME;
        uint8_t *data = sample_device(size);
        int index_fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(full, "full.pack", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_mark(w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data, size, &err), -ENOSPC);
        assert_non_null(strstr(err.message, "full.pack"));
        assert_int_equal(zp_pack_writer_append(w, data, 1, &err), -ENOSPC);
        assert_int_equal(zp_pack_writer_rollback(w, &err), -ENOSPC);
        assert_int_equal(zp_pack_writer_finish(w, index_fd, "full.index", &info, &err), -ENOSPC);
        assert_int_equal(file_size(index_fd), 0);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(full);
        close(index_fd);
        free(data);
}

static void impossible_options_are_refused(void **state) {
        (void) state;
        static const struct zp_pack_options options[] = {
                { .frame_size = 1 },
                { .frame_size = 4097 },
                { .frame_size = ZP_LIMIT_FRAME_SIZE + 4096 },
                { .level = 1000 },
        };
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w = NULL;
        assert_int_equal(zp_pool_new(1, &pool, &err), 0);
        for (size_t i = 0; i < sizeof options / sizeof options[0]; i++)
                assert_int_equal(zp_pack_writer_new(0, "x", &options[i], pool, &w, &err), -EINVAL);
        assert_null(w);
        zp_pool_free(pool);
}

static void a_writer_can_be_dropped_half_way(void **state) {
        (void) state;
        struct zp_error err = { 0 };
        struct zp_pool *pool;
        struct zp_pack_writer *w;
        uint8_t *data = sample_device(5 * FRAME + 1);
        struct zp_pack_options options = { .frame_size = FRAME };
        int fd = temporary_file();
        assert_int_equal(zp_pool_new(2, &pool, &err), 0);
        assert_int_equal(zp_pack_writer_new(fd, "dropped", &options, pool, &w, &err), 0);
        assert_int_equal(zp_pack_writer_append(w, data, 5 * FRAME + 1, &err), 0);
        zp_pack_writer_free(w);
        zp_pool_free(pool);
        close(fd);
        free(data);
}

/* Runs zstd on `path` with its output on a file; false when there is no such program. */
static bool run_zstd(const char *option, const char *path, int out) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                dup2(out, 1);
                execlp("zstd", "zstd", option, path, (char *) NULL);
                _exit(127);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == 127)
                return false;
        assert_int_equal(WEXITSTATUS(status), 0);
        return true;
}

static void check_with_zstd_program(const uint8_t *data, size_t size) {
        struct packed packed = pack_bytes(data, size, FRAME, 2);
        int restored_fd = temporary_file(), list_fd = temporary_file();
        uint8_t *bytes = file_bytes(packed.fd);
        char path[] = "/tmp/pack-test-XXXXXX", expected[64];
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, bytes, packed.info.pack_size), packed.info.pack_size);
        bool has_run = run_zstd("-dqc", path, restored_fd) && run_zstd("-lv", path, list_fd);
        unlink(path);
        if (!has_run)
                skip();
        assert_int_equal(file_size(restored_fd), size);
        uint8_t *restored = file_bytes(restored_fd), *list = file_bytes(list_fd);
        assert_memory_equal(restored, data, size);
        snprintf(expected, sizeof expected, "# Zstandard Frames: %u\n# Skippable Frames: 1\n", packed.info.frames);
        list[file_size(list_fd)] = '\0';
        assert_non_null(strstr((const char *) list, expected));
        free(bytes);
        free(restored);
        free(list);
        close(fd);
        close(restored_fd);
        close(list_fd);
        packed_clear(&packed);
}

static void the_zstd_program_restores_the_device_and_lists_its_frames(void **state) {
        (void) state;
        uint8_t *data = sample_device(40 * FRAME + 4096);
        check_with_zstd_program(data, 0);
        check_with_zstd_program(data, 4096);
        check_with_zstd_program(data, 40 * FRAME + 4096);
        free(data);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(any_zstd_decoder_restores_the_device),
                cmocka_unit_test(the_zstd_program_restores_the_device_and_lists_its_frames),
                cmocka_unit_test(the_seek_table_follows_the_seekable_format),
                cmocka_unit_test(the_index_lists_each_frame_with_its_digest),
                cmocka_unit_test(bytes_do_not_depend_on_threads_or_pieces),
                cmocka_unit_test(rollback_leaves_no_trace),
                cmocka_unit_test(told_bytes_are_never_changed),
                cmocka_unit_test(marked_bytes_are_told_when_they_are_kept),
                cmocka_unit_test(splicing_frames_is_like_appending_their_bytes),
                cmocka_unit_test(frames_are_spliced_only_behind_whole_ones),
                cmocka_unit_test(zeros_are_like_appended_zeros),
                cmocka_unit_test(a_full_disk_stops_the_writer_with_its_error),
                cmocka_unit_test(impossible_options_are_refused),
                cmocka_unit_test(a_writer_can_be_dropped_half_way),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
