/* SPDX-License-Identifier: Apache-2.0
 *
 * Block maps in a store: made from the device when they are wanted, kept, and made again when they are damaged.
 */
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "store-fixture.h"

#include "base/pool.h"
#include "pack/writer.h"
#include "store/device-map.h"

#define BLOCKS 40

static struct zp_device_record make_device(struct world *w, bool is_complete) {
        struct zp_staging *staging = NULL;
        struct zp_pool *pool = NULL;
        struct zp_pack_writer *pack = NULL;
        struct zp_pack_info info;
        uint8_t block[4096];
        assert_int_equal(zp_staging_new(w->store, &staging, &w->err), 0);
        assert_int_equal(zp_pool_new(1, &pool, &w->err), 0);
        zp_autoclose int fd = zp_staging_create(staging, "device.zst", &w->err);
        zp_autoclose int index_fd = zp_staging_create(staging, "device.idx", &w->err);
        assert_int_equal(zp_pack_writer_new(fd, "pack", NULL, pool, &pack, &w->err), 0);
        for (int i = 0; i < BLOCKS; i++) {
                memset(block, 'a' + i, sizeof block);
                assert_int_equal(zp_pack_writer_append(pack, block, sizeof block, &w->err), 0);
        }
        assert_int_equal(zp_pack_writer_finish(pack, index_fd, "index", &info, &w->err), 0);
        zp_pack_writer_free(pack);
        zp_pool_free(pool);
        struct zp_device_record record = { .digest = info.index_digest,
                                           .index_size = info.index_size,
                                           .pack_size = info.pack_size,
                                           .device_size = info.device_size,
                                           .frame_size = ZP_PACK_DEFAULT_FRAME_SIZE,
                                           .is_complete = is_complete };
        assert_int_equal(zp_staging_commit_device(staging, &record, &w->err), 0);
        zp_staging_free(staging);
        return record;
}

static int load(struct world *w, const struct zp_device_record *record, struct zp_device_map *map) {
        struct zp_pool *pool;
        assert_int_equal(zp_pool_new(2, &pool, &w->err), 0);
        int r = zp_store_load_map(w->store, record, pool, NULL, map, &w->err);
        zp_pool_free(pool);
        return r;
}

static char *map_path(const struct world *w, const struct zp_device_record *record, char path[256]) {
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(path, 256, "%s/devices/%s/device.map", w->path, zp_digest_hex(&record->digest, hex));
        return path;
}

static void a_map_is_made_and_kept(void **state) {
        struct world *w = *state;
        struct zp_device_record record = make_device(w, true);
        struct zp_device_map map, again;
        struct stat st;
        char path[256];
        assert_int_equal(load(w, &record, &map), 1);
        assert_int_equal(map.map.blocks, BLOCKS);
        assert_int_equal(stat(map_path(w, &record, path), &st), 0);
        assert_int_equal(st.st_size, map.size);
        assert_int_equal(load(w, &record, &again), 1);
        assert_memory_equal(again.bytes, map.bytes, map.size);
        zp_device_map_clear(&again);
        zp_device_map_clear(&map);
}

static void a_damaged_map_is_made_again(void **state) {
        struct world *w = *state;
        struct zp_device_record record = make_device(w, true);
        struct zp_device_map map, again;
        char path[256];
        assert_int_equal(load(w, &record, &map), 1);
        for (size_t at = 0; at < map.size; at += 97) {
                int fd = open(map_path(w, &record, path), O_RDWR | O_CLOEXEC);
                uint8_t byte = (uint8_t) (map.bytes[at] ^ 1);
                assert_int_equal(pwrite(fd, &byte, 1, (off_t) at), 1);
                close(fd);
                assert_int_equal(load(w, &record, &again), 1);
                assert_memory_equal(again.bytes, map.bytes, map.size);
                zp_device_map_clear(&again);
        }
        assert_int_equal(truncate(map_path(w, &record, path), 5), 0);
        assert_int_equal(load(w, &record, &again), 1);
        assert_memory_equal(again.bytes, map.bytes, map.size);
        zp_device_map_clear(&again);
        zp_device_map_clear(&map);
}

/* The kernel kills it while it writes. */
static void die_while_keeping(struct world *w, const struct zp_device_record *record) {
        const struct rlimit one_byte = { 1, 1 };
        struct zp_device_map map;
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_FSIZE, &one_byte);
        world_reopen(w, ZP_STORE_WRITE);
        load(w, record, &map);
        _exit(0);
}

static void who_is_killed_while_keeping_one_leaves_nothing_beside_the_device(void **state) {
        struct world *w = *state;
        struct zp_device_record record = make_device(w, true);
        char hex[ZP_SHA256_HEX_SIZE];
        const char *directory = below(w, "devices/%s", zp_digest_hex(&record.digest, hex));
        size_t before = count_entries(directory);
        int status;
        pid_t child = fork();
        if (child == 0)
                die_while_keeping(w, &record);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
        assert_int_equal(count_entries(directory), before);
}

static void of_a_device_that_is_not_here_there_is_none(void **state) {
        struct world *w = *state;
        struct zp_device_record record = make_device(w, false);
        struct zp_device_map map;
        assert_int_equal(load(w, &record, &map), 0);
        assert_null(map.bytes);
}

static void a_reader_makes_one_and_keeps_none(void **state) {
        struct world *w = *state;
        struct zp_device_record record = make_device(w, true);
        struct zp_device_map map;
        char path[256];
        world_reopen(w, ZP_STORE_READ);
        assert_int_equal(load(w, &record, &map), 1);
        assert_int_equal(access(map_path(w, &record, path), F_OK), -1);
        zp_device_map_clear(&map);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(a_map_is_made_and_kept),
                world_test(a_damaged_map_is_made_again),
                world_test(who_is_killed_while_keeping_one_leaves_nothing_beside_the_device),
                world_test(of_a_device_that_is_not_here_there_is_none),
                world_test(a_reader_makes_one_and_keeps_none),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
