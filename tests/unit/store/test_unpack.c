/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices unpacked for the kernel: right, once, and never half.
 */
#include <pthread.h>

#include "pack/writer.h"
#include "store-fixture.h"

#define DEVICE_SIZE (256 * 1024)

static uint8_t device[DEVICE_SIZE];

static int device_setup(void **state) {
        uint32_t x = 1;
        for (size_t i = 0; i < DEVICE_SIZE; i++) {
                x = x * 1664525 + 1013904223;
                device[i] = i < DEVICE_SIZE / 2 ? (uint8_t) (x >> 24) : 0;
        }
        return world_setup(state);
}

#define device_test(name) cmocka_unit_test_setup_teardown(name, device_setup, world_teardown)

static struct zp_digest put_packed(struct world *w, struct zp_pool *pool) {
        struct zp_device_record record = { .is_complete = true };
        struct zp_pack_info info;
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_auto(zp_pack_writer_free) struct zp_pack_writer *writer = NULL;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        zp_autoclose int pack_fd = zp_staging_create(staging, "device.zst", &w->err);
        zp_autoclose int index_fd = zp_staging_create(staging, "device.idx", &w->err);
        struct zp_pack_options options = { .frame_size = 65536 };
        must(w, zp_pack_writer_new(pack_fd, "device.zst", &options, pool, &writer, &w->err));
        must(w, zp_pack_writer_append(writer, device, DEVICE_SIZE, &w->err));
        must(w, zp_pack_writer_finish(writer, index_fd, "device.idx", &info, &w->err));
        record.digest = info.index_digest;
        record.index_size = info.index_size;
        record.pack_size = info.pack_size;
        record.device_size = info.device_size;
        must(w, zp_staging_commit_device(staging, &record, &w->err));
        return record.digest;
}

static struct zp_pool *new_pool(struct world *w) {
        struct zp_pool *pool = NULL;
        must(w, zp_pool_new(2, &pool, &w->err));
        return pool;
}

static void assert_is_device(int fd) {
        static uint8_t buffer[DEVICE_SIZE + 1];
        assert_true(fd >= 0);
        assert_int_equal(pread(fd, buffer, sizeof buffer, 0), DEVICE_SIZE);
        assert_memory_equal(buffer, device, DEVICE_SIZE);
}

static void unpacked_device_has_the_packs_content(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_digest name = put_packed(w, pool);
        zp_autoclose int fd = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        assert_is_device(fd);
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(count_entries(below(w, "unpacked")), 1);
        assert_whole(w);
        zp_pool_free(pool);
}

static void second_time_the_same_file_is_used_even_by_a_reader(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct stat first, second;
        struct zp_digest name = put_packed(w, pool);
        zp_autoclose int fd = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        world_reopen(w, ZP_STORE_READ);
        zp_autoclose int again = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        assert_int_equal(fstat(fd, &first), 0);
        assert_int_equal(fstat(again, &second), 0);
        assert_int_equal(first.st_ino, second.st_ino);
        zp_pool_free(pool);
}

static void reader_cannot_unpack(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_digest name = put_packed(w, pool);
        world_reopen(w, ZP_STORE_READ);
        assert_int_equal(zp_store_unpack_device(w->store, &name, pool, NULL, &w->err), -EROFS);
        zp_pool_free(pool);
}

static void damaged_pack_is_found_and_leaves_nothing(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_digest name = put_packed(w, pool);
        int fd = open(below(w, "devices/%s/device.zst", hex_of(&name)), O_RDWR);
        uint8_t byte;
        assert_int_equal(pread(fd, &byte, 1, 5000), 1);
        byte ^= 1;
        assert_int_equal(pwrite(fd, &byte, 1, 5000), 1);
        close(fd);
        assert_int_equal(zp_store_unpack_device(w->store, &name, pool, NULL, &w->err), -EBADMSG);
        assert_non_null(strstr(w->err.message, "unpack device sha256:"));
        assert_int_equal(count_entries(below(w, "unpacked")), 0);
        assert_whole(w);
        zp_pool_free(pool);
}

static void file_of_a_wrong_size_is_made_again(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_digest name = put_packed(w, pool);
        assert_int_equal(close(open(below(w, "unpacked/%s.raw", hex_of(&name)), O_CREAT | O_WRONLY, 0644)), 0);
        zp_autoclose int fd = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        assert_is_device(fd);
        zp_pool_free(pool);
}

static void what_is_no_file_makes_way(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_digest name = put_packed(w, pool);
        assert_int_equal(symlink("/etc/passwd", below(w, "unpacked/%s.raw", hex_of(&name))), 0);
        zp_autoclose int instead_of_link = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        assert_is_device(instead_of_link);
        assert_int_equal(unlink(below(w, "unpacked/%s.raw", hex_of(&name))), 0);
        assert_int_equal(mkdir(below(w, "unpacked/%s.raw", hex_of(&name)), 0755), 0);
        zp_autoclose int instead_of_directory = zp_store_unpack_device(w->store, &name, pool, NULL, &w->err);
        assert_is_device(instead_of_directory);
        zp_pool_free(pool);
}

static void device_held_by_its_index_alone_cannot_be_unpacked(void **state) {
        struct world *w = *state;
        struct zp_device_record record = device_record("a", "1");
        record.is_complete = false;
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        assert_int_equal(zp_store_unpack_device(w->store, &record.digest, NULL, NULL, &w->err), -ENODATA);
        assert_int_equal(count_entries(below(w, "unpacked")), 0);
        assert_whole(w);
}

static void cancelled_unpacking_leaves_nothing(void **state) {
        struct world *w = *state;
        struct zp_pool *pool = new_pool(w);
        struct zp_cancel cancel = { 0 };
        struct zp_digest name = put_packed(w, pool);
        atomic_store(&cancel.requested, true);
        assert_int_equal(zp_store_unpack_device(w->store, &name, pool, &cancel, &w->err), -ECANCELED);
        assert_int_equal(count_entries(below(w, "unpacked")), 0);
        assert_whole(w);
        zp_pool_free(pool);
}

static void unknown_device_is_not_found(void **state) {
        struct world *w = *state;
        struct zp_digest name = digest_of_text("nosuch");
        assert_int_equal(zp_store_unpack_device(w->store, &name, NULL, NULL, &w->err), -ENOENT);
}

struct unpacker {
        struct world *w;
        struct zp_pool *pool;
        struct zp_digest name;
};

static void *unpack(void *argument) {
        struct unpacker *u = argument;
        struct zp_error err = { 0 };
        int fd = zp_store_unpack_device(u->w->store, &u->name, u->pool, NULL, &err);
        struct stat st;
        ino_t inode = fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
        if (fd >= 0)
                close(fd);
        return (void *) (uintptr_t) inode;
}

static void threads_share_one_unpacking(void **state) {
        struct unpacker u = { .w = *state };
        u.pool = new_pool(u.w);
        u.name = put_packed(u.w, u.pool);
        pthread_t threads[4];
        void *inodes[4];
        for (int i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, unpack, &u), 0);
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], &inodes[i]);
        for (int i = 0; i < 4; i++)
                assert_true(inodes[i] && inodes[i] == inodes[0]);
        assert_whole(u.w);
        zp_pool_free(u.pool);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                device_test(unpacked_device_has_the_packs_content),
                device_test(second_time_the_same_file_is_used_even_by_a_reader),
                device_test(reader_cannot_unpack),
                device_test(damaged_pack_is_found_and_leaves_nothing),
                device_test(file_of_a_wrong_size_is_made_again),
                device_test(what_is_no_file_makes_way),
                device_test(device_held_by_its_index_alone_cannot_be_unpacked),
                device_test(cancelled_unpacking_leaves_nothing),
                device_test(unknown_device_is_not_found),
                device_test(threads_share_one_unpacking),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
