/* SPDX-License-Identifier: Apache-2.0
 *
 * Which frames are believed after a kill, after a loss of power, and after damage. A loss of power is played by another
 * boot id: whatever was not synced may then be anything.
 */
#include "device-fixture.h"

#include <sys/syscall.h>

#include "device/device-internal.h"
#include "device/record.h"

/* The disk: so many syncs to come fail. */
static unsigned failing_data_syncs, failing_syncs;

int fdatasync(int fd) {
        if (!failing_data_syncs)
                return (int) syscall(SYS_fdatasync, fd);
        failing_data_syncs--;
        errno = EIO;
        return -1;
}

int fsync(int fd) {
        if (!failing_syncs)
                return (int) syscall(SYS_fsync, fd);
        failing_syncs--;
        errno = EIO;
        return -1;
}

static const uint8_t boots[2][ZP_RECORD_BOOT_ID_SIZE] = { "first boot", "second boot" };

static int open_record(struct world *w, int boot, struct zp_record *record) {
        return zp_record_open(w->cache_fd, &w->packed.info.index_digest, SIZE, FRAMES, boots[boot], record, NULL);
}

static void put(struct world *w, struct zp_record *record, uint32_t frame) {
        uint64_t offset = (uint64_t) frame * FRAME;
        uint32_t size = (uint32_t) (SIZE - offset < FRAME ? SIZE - offset : FRAME);
        assert_int_equal(zp_record_put(record, frame, offset, w->data + offset, size, NULL), 0);
}

static uint64_t good_frames(const struct zp_record *record) {
        uint64_t bits = 0;
        for (uint32_t i = 0; i < FRAMES; i++)
                bits |= (uint64_t) zp_record_has(record, i) << i;
        assert_int_equal(record->missing, FRAMES - (unsigned) __builtin_popcountll(bits));
        return bits;
}

#define BIT(frame) (UINT64_C(1) << (frame))

static void a_killed_process_loses_nothing_and_a_lost_power_line_what_was_not_synced(void **state) {
        struct world *w = *state;
        struct zp_record record;
        assert_int_equal(open_record(w, 0, &record), 0);
        put(w, &record, 0);
        put(w, &record, 9);
        assert_true(zp_record_is_unsynced(&record));
        assert_int_equal(zp_record_sync(&record, NULL), 0);
        assert_false(zp_record_is_unsynced(&record));
        put(w, &record, 17);
        put(w, &record, FRAMES - 1);
        zp_record_close(&record);

        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), BIT(0) | BIT(9) | BIT(17) | BIT(FRAMES - 1));
        assert_true(zp_record_is_unsynced(&record));
        zp_record_close(&record);

        assert_int_equal(open_record(w, 1, &record), 0);
        assert_int_equal(good_frames(&record), BIT(0) | BIT(9));
        put(w, &record, 2);
        zp_record_close(&record);

        /* what the first boot had said is forgotten for good */
        assert_int_equal(open_record(w, 1, &record), 0);
        assert_int_equal(good_frames(&record), BIT(0) | BIT(2) | BIT(9));
        zp_record_close(&record);
        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), BIT(0) | BIT(9));
        zp_record_close(&record);
}

static void a_look_from_outside_counts_good_frames(void **state) {
        struct world *w = *state;
        struct zp_record record;
        uint8_t boot_id[ZP_RECORD_BOOT_ID_SIZE];
        uint32_t good, frames;
        const struct zp_digest *device = &w->packed.info.index_digest;
        assert_int_equal(zp_record_look(w->cache_fd, device, SIZE, &good, &frames, NULL), 0);
        assert_int_equal(frames, 0);
        assert_int_equal(zp_record_boot_id(boot_id, NULL), 0);
        assert_int_equal(zp_record_open(w->cache_fd, device, SIZE, FRAMES, boot_id, &record, NULL), 0);
        put(w, &record, 0);
        assert_int_equal(zp_record_sync(&record, NULL), 0);
        put(w, &record, FRAMES - 1);
        assert_int_equal(zp_record_look(w->cache_fd, device, SIZE, &good, &frames, NULL), 0);
        assert_int_equal(frames, FRAMES);
        assert_int_equal(good, 2);
        zp_record_close(&record);
        /* of another boot: only what was synced */
        assert_int_equal(open_record(w, 1, &record), 0);
        put(w, &record, 1);
        assert_int_equal(zp_record_look(w->cache_fd, device, SIZE, &good, &frames, NULL), 0);
        assert_int_equal(good, 1);
        assert_int_equal(zp_record_look(w->cache_fd, device, SIZE + 4096, &good, &frames, NULL), 0);
        assert_int_equal(frames, 0);
        zp_record_close(&record);
}

static void one_process_at_a_time_has_a_copy(void **state) {
        struct world *w = *state;
        struct zp_record record, other;
        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(open_record(w, 0, &other), -EBUSY);
        zp_record_close(&record);
        assert_int_equal(open_record(w, 0, &other), 0);
        zp_record_close(&other);
}

static void a_finished_copy_is_the_device_and_nothing_else(void **state) {
        struct world *w = *state;
        struct zp_record record;
        assert_int_equal(open_record(w, 0, &record), 0);
        for (uint32_t i = 0; i < FRAMES; i++)
                put(w, &record, i);
        assert_int_equal(record.missing, 0);
        assert_int_equal(zp_record_finish(&record, w->cache_fd, NULL), 0);
        assert_int_equal(zp_record_sync(&record, NULL), 0);
        assert_int_equal(file_size(record.fd), SIZE);
        uint8_t *bytes = file_bytes(record.fd);
        assert_memory_equal(bytes, w->data, SIZE);
        free(bytes);
        zp_record_close(&record);
        assert_true(has_file(w, ".raw") && !has_file(w, ".part"));
        assert_int_equal(open_record(w, 1, &record), 0);
        assert_int_equal(good_frames(&record), BIT(FRAMES) - 1);
        zp_record_close(&record);
}

static char *part_path(const struct world *w) {
        static char path[160];
        char hex[ZP_SHA256_HEX_SIZE];
        snprintf(path, sizeof path, "%s/%s.part", w->directory, zp_digest_hex(&w->packed.info.index_digest, hex));
        return path;
}

static void put_all_but_first(struct world *w, struct zp_record *record) {
        for (uint32_t i = 1; i < FRAMES; i++)
                put(w, record, i);
}

static void what_the_disk_loses_as_a_copy_is_completed_is_not_believed(void **state) {
        struct world *w = *state;
        struct zp_record record;
        assert_int_equal(open_record(w, 0, &record), 0);
        put(w, &record, 0);
        assert_int_equal(zp_record_sync(&record, NULL), 0);
        put_all_but_first(w, &record);
        failing_data_syncs = 1;
        assert_int_equal(zp_record_finish(&record, w->cache_fd, NULL), -EIO);
        assert_int_equal(good_frames(&record), BIT(0));
        assert_int_equal(zp_record_put(&record, 1, FRAME, w->data + FRAME, FRAME, NULL), -EIO);
        zp_record_close(&record);
        assert_false(has_file(w, ".raw"));

        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), BIT(0));
        put_all_but_first(w, &record);
        assert_int_equal(zp_record_finish(&record, w->cache_fd, NULL), 0);
        zp_record_close(&record);
        assert_true(has_file(w, ".raw") && !has_file(w, ".part"));
}

static void a_copy_that_cannot_be_cut_is_nobodys_afterwards(void **state) {
        struct world *w = *state;
        struct zp_record record;
        assert_int_equal(open_record(w, 0, &record), 0);
        put(w, &record, 0);
        put_all_but_first(w, &record);
        failing_syncs = 1;
        assert_int_equal(zp_record_finish(&record, w->cache_fd, NULL), -EIO);
        assert_int_equal(good_frames(&record), BIT(FRAMES) - 1);
        zp_record_close(&record);
        assert_false(has_file(w, ".raw") || has_file(w, ".part"));

        int fd = open(part_path(w), O_RDWR | O_CREAT | O_EXCL, 0600); /* cut, and not renamed */
        assert_int_equal(zp_pwrite_all(fd, w->data, SIZE, 0, "part", NULL), 0);
        close(fd);
        failing_data_syncs = 1;
        assert_int_equal(open_record(w, 0, &record), -EIO);
        assert_false(has_file(w, ".raw") || has_file(w, ".part"));
}

/* Power lost between the two steps of finishing. */
static void a_copy_that_was_only_cut_is_finished_later(void **state) {
        struct world *w = *state;
        struct zp_record record;
        int fd = open(part_path(w), O_RDWR | O_CREAT | O_EXCL, 0600);
        assert_int_equal(zp_pwrite_all(fd, w->data, SIZE, 0, "part", NULL), 0);
        close(fd);
        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), BIT(FRAMES) - 1);
        zp_record_close(&record);
        assert_true(has_file(w, ".raw") && !has_file(w, ".part"));
}

/* Of a record that is not whole or not this device's, nothing is believed. */
static void a_foreign_or_damaged_record_is_not_believed(void **state) {
        struct world *w = *state;
        static const unsigned at[] = { 0, 8, 16, 40, 70 };
        struct zp_record record;
        for (unsigned i = 0; i < sizeof at / sizeof at[0] + 2; i++) {
                assert_int_equal(open_record(w, 0, &record), 0);
                assert_int_equal(good_frames(&record), 0);
                put(w, &record, 4);
                assert_int_equal(zp_record_sync(&record, NULL), 0);
                zp_record_close(&record);
                int fd = open(part_path(w), O_RDWR);
                if (i < sizeof at / sizeof at[0])
                        assert_int_equal(pwrite(fd, "\xA5", 1, SIZE + at[i]), 1);
                else if (i == sizeof at / sizeof at[0])
                        assert_int_equal(ftruncate(fd, (off_t) file_size(fd) - 1), 0);
                else
                        assert_int_equal(ftruncate(fd, 0), 0);
                close(fd);
        }
        assert_int_equal(unlink(part_path(w)), 0);
        assert_int_equal(symlink("/dev/null", part_path(w)), 0);
        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), 0);
        zp_record_close(&record);
}

static void bits_behind_the_last_frame_mean_nothing(void **state) {
        struct world *w = *state;
        struct zp_record record;
        assert_int_equal(open_record(w, 0, &record), 0);
        zp_record_close(&record);
        int fd = open(part_path(w), O_RDWR);
        uint64_t bits = ~(BIT(FRAMES) - 1) | 1;
        assert_int_equal(pwrite(fd, &bits, sizeof bits, SIZE + 4096), sizeof bits);
        close(fd);
        assert_int_equal(open_record(w, 0, &record), 0);
        assert_int_equal(good_frames(&record), 1);
        zp_record_close(&record);
}

/* ---- a device on a disk that fails ---- */

/* A frame that was kept, and not synced yet, is gone. */
static void lose_frame(struct world *w, uint32_t frame) {
        atomic_fetch_or(&w->device->record.unsynced[0], BIT(frame)); /* the keeper may have been so fast */
        failing_data_syncs = 1;
        assert_int_equal(zp_record_sync(&w->device->record, NULL), -EIO);
}

static void what_the_disk_loses_while_it_is_read_is_fetched_again(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        assert_int_equal(read_frame(w, 4), 0);
        hold_origin(&w->faults[0], true);
        struct waiting *waiting = begin_read(w, 4 * FRAME, 2 * FRAME); /* one from the disk, one that is awaited */
        lose_frame(w, 4);
        hold_origin(&w->faults[0], false);
        assert_int_equal(end_read(w, waiting), 0);
        assert_int_equal(asked(&w->faults[0], 4), 2);
        assert_int_equal(asked(&w->faults[0], 5), 1);
}

static void a_disk_that_lost_one_devices_frames_costs_no_other_copy(void **state) {
        struct world *w = *state;
        char other[80];
        snprintf(other, sizeof other, "%064d.raw", 0);
        int fd = openat(w->cache_fd, other, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        assert_int_equal(zp_pwrite_all(fd, w->data, SIZE, 0, other, NULL), 0);
        close(fd);
        open_world(w, 1);
        assert_int_equal(read_frame(w, 4), 0);
        lose_frame(w, 4);
        for (uint32_t i = 10; i < 20; i++)
                assert_int_equal(read_frame(w, i), 0);
        zp_device_close(w->device);
        struct packed first = w->packed;
        w->data[0] ^= 1;
        w->packed = pack_bytes(w->data, SIZE, FRAME, 2);
        packed_clear(&first);
        open_world(w, 1);
        struct zp_device_statistics before, after;
        zp_device_engine_statistics(w->engine, &before);
        assert_int_equal(read_frame(w, 1), 0);
        zp_device_engine_statistics(w->engine, &after);
        assert_int_equal(after.unkept_frames, before.unkept_frames); /* the disk is not taken for full */
        close_world(w);
        assert_int_equal(faccessat(w->cache_fd, other, F_OK, 0), 0);
}

static void count_line(void *context, const char *line) {
        if (strstr(line, "and all are in use"))
                atomic_fetch_add((atomic_uint *) context, 1);
}

static bool is_always_in_use(void *context, const char *hex) {
        (void) context, (void) hex;
        return true;
}

/* However much time goes by until it is looked again. */
static void nothing_is_kept_as_long_as_copies_in_use_take_more_than_they_may(void **state) {
        struct world *w = *state;
        atomic_uint lines = 0;
        open_world(w, 1);
        assert_int_equal(read_range(w, 0, 10 * FRAME), 0);
        close_world(w);
        w->options.cache_limit = FRAME;
        w->options.is_in_use = is_always_in_use;
        w->options.notice = count_line;
        w->options.context = &lines;
        open_world(w, 1);
        await(atomic_load(&lines));
        bool is_over = false;
        while (!is_over) { /* as soon as the keeper has said so */
                pthread_mutex_lock(&w->engine->lock);
                is_over = w->engine->is_over_limit;
                w->engine->cache_full_until_ms = 0;
                pthread_mutex_unlock(&w->engine->lock);
        }
        struct zp_device_statistics statistics;
        for (uint32_t i = 20; i < 30; i++)
                assert_int_equal(read_frame(w, i), 0);
        zp_device_engine_statistics(w->engine, &statistics);
        assert_true(statistics.fetched_frames >= 10);
        assert_int_equal(statistics.unkept_frames, statistics.fetched_frames);
        close_world(w);
}

static void the_boot_has_an_id(void **state) {
        (void) state;
        uint8_t id[ZP_RECORD_BOOT_ID_SIZE], zeros[ZP_RECORD_BOOT_ID_SIZE] = { 0 };
        char text[64], expected[64] = "";
        assert_int_equal(zp_record_boot_id(id, NULL), 0);
        assert_memory_not_equal(id, zeros, sizeof id);
        FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
        assert_non_null(fgets(text, sizeof text, file));
        fclose(file);
        for (int i = 0; i < ZP_RECORD_BOOT_ID_SIZE; i++)
                snprintf(expected + strlen(expected), 8, "%02x%s", id[i],
                         i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
        assert_memory_equal(text, expected, 36);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(a_killed_process_loses_nothing_and_a_lost_power_line_what_was_not_synced),
                test(a_look_from_outside_counts_good_frames),
                test(one_process_at_a_time_has_a_copy),
                test(a_finished_copy_is_the_device_and_nothing_else),
                test(what_the_disk_loses_as_a_copy_is_completed_is_not_believed),
                test(a_copy_that_cannot_be_cut_is_nobodys_afterwards),
                test(a_copy_that_was_only_cut_is_finished_later),
                test(a_foreign_or_damaged_record_is_not_believed),
                test(bits_behind_the_last_frame_mean_nothing),
                test(what_the_disk_loses_while_it_is_read_is_fetched_again),
                test(a_disk_that_lost_one_devices_frames_costs_no_other_copy),
                test(nothing_is_kept_as_long_as_copies_in_use_take_more_than_they_may),
                test(the_boot_has_an_id),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
