/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloads of which one hangs: who looks for a device goes on without it, and comes back to it when it answers. A pipe
 * that nobody writes is what hangs: whoever opens it waits.
 */
#include "../../pack/pack-fixture.h"
#include "../control/support.h"

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <time.h>

#include "snapshotter/data/data-internal.h"

#define PATIENCE_MS 1000
#define PAUSE_MS 3600000

static const struct zp_digest device = { .bytes = { [7] = 77 } };
static struct snap_data_options options = { .store = "store" };
static struct snap_data data = { .options = &options };
static atomic_uint told;

static void count(void *context, const char *line) {
        (void) context;
        assert_non_null(strstr(line, "preload 'hung': it does not answer"));
        atomic_fetch_add(&told, 1);
}

static void name_pipe(char path[static 200]) {
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(path, 200, "hung/unpacked/%s.raw", zp_digest_hex(&device, hex));
}

static int setup_preloads(void **state) {
        static const char *const paths[] = { "hung", "good", NULL };
        const struct snap_preloads_options preloads = { paths, PATIENCE_MS, PAUSE_MS, count, NULL };
        char pipe[200];
        atomic_store(&told, 0);
        if (setup(state) < 0)
                return -1;
        name_pipe(pipe);
        if (mkdir("hung", 0700) || mkdir("hung/unpacked", 0700) || mkfifo(pipe, 0600))
                return -1;
        return snap_preloads_new(&preloads, &data.preloads, &err);
}

/* Whoever waits at the pipe goes on. */
static void release(void) {
        char pipe[200];
        name_pipe(pipe);
        int fd = open(pipe, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0)
                close(fd);
}

static int teardown_preloads(void **state) {
        release();
        snap_preloads_free(data.preloads);
        return teardown(state);
}

static void put_into(const char *place) {
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        mkdir(place, 0700);
        snprintf(path, sizeof path, "%s/devices", place);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/devices/%s", place, zp_digest_hex(&device, hex));
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof path, "%s/devices/%s/device.idx", place, hex);
        write_text(path, place);
}

static void others_are_looked_into_and_the_one_that_hangs_is_passed_over(void **state) {
        (void) state;
        struct snap_files files;
        put_into("good");
        uint64_t began_ms = zp_monotonic_ms();
        for (int i = 0; i < 100; i++) {
                assert_ok(snap_files_find(&data, &device, &files, &err));
                assert_string_equal(files.index, "good");
                assert_true(files.is_partial);
                snap_files_clear(&files);
        }
        assert_true(zp_monotonic_ms() - began_ms < 50 * PATIENCE_MS);
        assert_int_equal(told, 1);
}

static void what_it_may_have_is_not_said_to_be_nowhere_until_it_answers(void **state) {
        (void) state;
        struct snap_files files;
        struct zp_digest found;
        uint64_t id = snap_device_id(&device);
        assert_int_equal(snap_files_find(&data, &device, &files, &err), -ETIMEDOUT);
        assert_int_equal(snap_files_resolve(&data, id, &found, &err), -ETIMEDOUT);
        release();
        char pipe[200];
        name_pipe(pipe);
        assert_int_equal(unlink(pipe), 0);
        int r;
        for (time_t until = time(NULL) + 30; (r = snap_files_find(&data, &device, &files, &err)) == -ETIMEDOUT;) {
                assert_true(time(NULL) < until);
                sched_yield();
        }
        assert_int_equal(r, -ENOENT);
        assert_int_equal(snap_files_resolve(&data, id, &found, &err), -ENOENT);
        put_into("hung");
        assert_ok(snap_files_find(&data, &device, &files, &err));
        assert_string_equal(files.index, "hung");
        assert_false(files.is_partial);
        snap_files_clear(&files);
}

static void a_number_is_found_where_it_is(void **state) {
        (void) state;
        struct snap_files files;
        struct zp_digest found;
        put_into("good");
        assert_ok(snap_files_find(&data, &device, &files, &err)); /* now it is passed over */
        snap_files_clear(&files);
        assert_ok(snap_files_resolve(&data, snap_device_id(&device), &found, &err));
        assert_true(zp_digest_equal(&found, &device));
}

static int find_disk(void *context, const struct zp_digest *image, bool is_compat, struct snap_disk_parts *out,
                     struct zp_error *error) {
        (void) context, (void) image, (void) is_compat, (void) error;
        out->metadata_size = 4096;
        return 0;
}

/* As the kernel asks for it when another process has told it of the disk. */
static void a_disk_is_found_by_its_number_while_a_preload_hangs(void **state) {
        (void) state;
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        struct snap_entry *entry;
        uint64_t id, size;
        options.lookups.find_disk = find_disk;
        assert_ok(snap_disks_new(&data, &data.disks, &err));
        snprintf(path, sizeof path, SNAP_DATA_DISK_PREFIX "%s", zp_digest_hex(&device, hex));
        assert_ok(snap_disks_lookup(data.disks, path, &id, &size, &err));
        snap_disks_free(data.disks);
        assert_int_equal(mkdir("store", 0700) | mkdir("store/images", 0700), 0);
        snprintf(path, sizeof path, "store/images/%s", hex);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_ok(snap_disks_new(&data, &data.disks, &err));
        assert_ok(snap_table_new(&data, &data.table, &err));
        assert_int_equal(snap_table_get(data.table, id, NULL, &entry, &err), -ENOENT);
        snap_table_free(data.table);
        snap_disks_free(data.disks);
        data.table = NULL;
        data.disks = NULL;
}

static void what_a_preload_has_is_read_by_threads_of_its_own(void **state) {
        (void) state;
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        struct snap_files files;
        put_into("store");
        put_into("good");
        snprintf(path, sizeof path, "good/devices/%s/device.zst", zp_digest_hex(&device, hex));
        write_text(path, "pack");
        assert_ok(snap_files_find(&data, &device, &files, &err));
        assert_string_equal(files.index, "store");
        assert_true(files.pack_fd >= 0);
        assert_non_null(files.pack_readers);
        struct zp_pool *readers = files.pack_readers;
        snap_files_clear(&files);
        assert_ok(snap_files_find(&data, &device, &files, &err));
        assert_ptr_equal(files.pack_readers, readers);
        snap_files_clear(&files);
        snprintf(path, sizeof path, "store/devices/%s/device.zst", hex);
        write_text(path, "pack");
        assert_ok(snap_files_find(&data, &device, &files, &err));
        assert_null(files.pack_readers); /* the store's own disk hangs for all */
        snap_files_clear(&files);
}

/* ---- unpacked ---- */

#define BLOCKS 3

static atomic_uint noticed;

static void note(void *context, const char *line) {
        (void) context;
        assert_non_null(strstr(line, "the unpacked file is not of its size"));
        atomic_fetch_add(&noticed, 1);
}

/* Only root's are trusted. */
static void needs_root(void) {
        if (geteuid() != 0)
                skip();
}

static void put_index(const char *place, const struct zp_digest *digest, const struct packed *packed) {
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        const char *parts[] = { "", "/devices", "/devices/", NULL };
        zp_digest_hex(digest, hex);
        for (const char **part = parts; *part; part++) {
                snprintf(path, sizeof path, "%s%s%s", place, *part, part == &parts[2] ? hex : "");
                mkdir(path, 0700);
        }
        snprintf(path, sizeof path, "%s/devices/%s/device.idx", place, hex);
        assert_ok(zp_replace_file(AT_FDCWD, path, (const char *) packed->index, packed->info.index_size, 0644, &err));
}

static void put_unpacked(const char *place, const struct zp_digest *digest, off_t size) {
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        mkdir(place, 0700);
        snprintf(path, sizeof path, "%s/unpacked", place);
        mkdir(path, 0700);
        snprintf(path, sizeof path, "%s/unpacked/%s.raw", place, zp_digest_hex(digest, hex));
        zp_autoclose int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_int_equal(ftruncate(fd, size), 0);
}

static struct packed pack_blocks(void) {
        zp_autofree uint8_t *bytes = sample_device((size_t) BLOCKS * 4096);
        return pack_bytes(bytes, (size_t) BLOCKS * 4096, 4096, 1);
}

static off_t found_unpacked(const struct zp_digest *digest) {
        struct snap_files files;
        struct stat st = { .st_size = -1 };
        assert_ok(snap_files_find(&data, digest, &files, &err));
        assert_true(files.raw_fd < 0 || fstat(files.raw_fd, &st) == 0);
        assert_int_equal(files.raw_readers != NULL, files.raw_fd >= 0);
        snap_files_clear(&files);
        return st.st_size;
}

/* As one that is being copied there; wherever the index is. */
static void an_unpacked_file_of_another_size_leaves_it_to_the_next_preload(void **state) {
        (void) state;
        needs_root();
        static const char *const places[] = { "store", "hung", "good" };
        options.device.notice = note;
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
                struct packed packed = pack_blocks();
                struct zp_digest digest = packed.info.index_digest;
                digest.bytes[0] ^= (uint8_t) i; /* another one each time, which is nothing to the files */
                put_index(places[i], &digest, &packed);
                atomic_store(&noticed, 0);
                put_unpacked("hung", &digest, (BLOCKS - 1) * 4096);
                assert_int_equal(found_unpacked(&digest), -1);
                put_unpacked("good", &digest, (BLOCKS + 1) * 4096);
                assert_int_equal(found_unpacked(&digest), -1);
                assert_true(atomic_load(&noticed) > 0);
                put_unpacked("good", &digest, BLOCKS * 4096);
                assert_int_equal(found_unpacked(&digest), BLOCKS * 4096);
                packed_clear(&packed);
        }
        options.device.notice = NULL;
}

/* Nobody has its data, unless the one that hangs does: that is not for good. */
static void an_unpacked_file_of_another_size_is_nothing_while_a_preload_hangs(void **state) {
        (void) state;
        needs_root();
        char hex[ZP_SHA256_HEX_SIZE], path[200];
        struct packed packed = pack_blocks();
        const struct zp_digest *digest = &packed.info.index_digest;
        const struct zp_device_options devices = { .cache_fd = -1 };
        struct snap_remote remote = { 0 };
        struct zp_device *opened = NULL;
        put_index("store", digest, &packed);
        put_unpacked("good", digest, (BLOCKS - 1) * 4096);
        snprintf(path, sizeof path, "hung/unpacked/%s.raw", zp_digest_hex(digest, hex));
        assert_int_equal(mkfifo(path, 0600), 0);
        options.device.cache_fd = -1;
        assert_ok(zp_device_engine_new(&devices, &data.engine, &err));
        assert_int_equal(snap_device_open(&data, digest, &remote, &opened, &err), -ETIMEDOUT);
        put_unpacked("good", digest, BLOCKS * 4096);
        assert_ok(snap_device_open(&data, digest, &remote, &opened, &err));
        assert_true(zp_device_is_complete(opened));
        zp_device_close(opened);
        zp_device_engine_free(data.engine);
        data.engine = NULL;
        int fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC); /* whoever waits there goes on */
        close(fd);
        packed_clear(&packed);
}

static int find_no_remote(void *context, const struct zp_digest *digest, char **name, struct zp_descriptor *pack,
                          struct zp_error *error) {
        (void) context, (void) digest, (void) name, (void) pack;
        return zp_error_set(error, EAGAIN, "somebody has the database locked");
}

static void what_is_there_unpacked_waits_for_no_database(void **state) {
        (void) state;
        needs_root();
        struct packed packed = pack_blocks();
        const struct zp_device_options devices = { .cache_fd = -1 };
        struct snap_remote remote = { 0 };
        struct zp_device *opened = NULL;
        put_index("store", &packed.info.index_digest, &packed);
        options.lookups.find_remote = find_no_remote;
        assert_ok(zp_device_engine_new(&devices, &data.engine, &err));
        assert_int_equal(snap_device_open(&data, &packed.info.index_digest, &remote, &opened, &err), -EAGAIN);
        put_unpacked("good", &packed.info.index_digest, BLOCKS * 4096);
        assert_ok(snap_device_open(&data, &packed.info.index_digest, &remote, &opened, &err));
        options.lookups.find_remote = NULL;
        zp_device_close(opened);
        zp_device_engine_free(data.engine);
        data.engine = NULL;
        packed_clear(&packed);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_preloads, teardown_preloads)
        const struct CMUnitTest tests[] = {
                TEST(others_are_looked_into_and_the_one_that_hangs_is_passed_over),
                TEST(what_it_may_have_is_not_said_to_be_nowhere_until_it_answers),
                TEST(a_number_is_found_where_it_is),
                TEST(a_disk_is_found_by_its_number_while_a_preload_hangs),
                TEST(what_a_preload_has_is_read_by_threads_of_its_own),
                TEST(an_unpacked_file_of_another_size_leaves_it_to_the_next_preload),
                TEST(an_unpacked_file_of_another_size_is_nothing_while_a_preload_hangs),
                TEST(what_is_there_unpacked_waits_for_no_database),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
