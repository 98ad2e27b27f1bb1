/* SPDX-License-Identifier: Apache-2.0
 *
 * What a partly present device promises its readers.
 */
#include "device-fixture.h"

#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

static struct zp_device_statistics statistics_of(struct world *w) {
        struct zp_device_statistics statistics;
        zp_device_engine_statistics(w->engine, &statistics);
        return statistics;
}

static void every_range_reads_as_the_device(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        uint64_t offset = 1;
        for (uint32_t size = 1; size < SIZE; size = size * 3 / 2 + 1) {
                for (int i = 0; i < 10; i++) {
                        offset = offset * 1103515245 + 12345;
                        assert_int_equal(read_range(w, offset % (SIZE - size + 1), size), 0);
                }
        }
        assert_int_equal(read_range(w, 0, SIZE), 0);
        for (uint32_t i = 0; i < FRAMES; i++)
                assert_int_equal(asked(&w->faults[0], i), 1);
        struct waiting *waiting = begin_read(w, SIZE - 100, 4096);
        assert_int_equal(waiting->read.size, 100);
        assert_int_equal(end_read(w, waiting), 0);
        waiting = begin_read(w, SIZE + 100, 4096);
        assert_int_equal(waiting->read.size, 0);
        assert_int_equal(end_read(w, waiting), 0);
}

static void a_frame_is_fetched_once_however_many_wait(void **state) {
        struct world *w = *state;
        struct waiting *waiting[50];
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        for (unsigned i = 0; i < 50; i++)
                waiting[i] = begin_read(w, 7 * FRAME + i * 100, 1000);
        hold_origin(&w->faults[0], false);
        for (unsigned i = 0; i < 50; i++)
                assert_int_equal(end_read(w, waiting[i]), 0);
        assert_int_equal(asked(&w->faults[0], 7), 1);
        assert_int_equal(statistics_of(w).waited_reads, 50);
        assert_int_equal(read_frame(w, 7), 0);
        assert_int_equal(statistics_of(w).waited_reads, 50);
}

static void wrong_bytes_are_asked_for_again_and_then_an_error_of_that_frame_alone(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        spoil_reads(&w->faults[0], 3, 1);
        assert_int_equal(read_frame(w, 3), 0);
        assert_int_equal(asked(&w->faults[0], 3), 2);
        spoil_reads(&w->faults[0], 10, 2);
        assert_int_equal(read_frame(w, 10), -EIO);
        assert_int_equal(asked(&w->faults[0], 10), 2);
        assert_int_equal(read_frame(w, 20), 0);
        assert_int_equal(read_frame(w, 10), 0); /* later reads try again */
        assert_int_equal(statistics_of(w).wrong_frames, 3);
}

static void failures_are_retried_until_the_deadline(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        fail_reads(&w->faults[0], 5, 6);
        assert_int_equal(read_frame(w, 5), 0);
        assert_int_equal(asked(&w->faults[0], 5), 7);
        close_world(w);

        w->options.deadline_ms = 1000;
        open_world(w, 1);
        fail_reads(&w->faults[0], 30, 1 << 20);
        assert_int_equal(read_frame(w, 30), -EIO);
        assert_true(asked(&w->faults[0], 30) > 1);
        assert_int_equal(read_frame(w, 5), 0);
        assert_int_equal(read_frame(w, 35), 0);
        fail_reads(&w->faults[0], 30, 0);
        assert_int_equal(read_frame(w, 30), 0);
}

static void an_origin_that_says_nothing_does_not_hang_its_readers(void **state) {
        struct world *w = *state;
        w->options.deadline_ms = 1000;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        assert_int_equal(read_frame(w, 2), -EIO);
        await(w->faults[0].cancelled == 1); /* which lets it go */
        assert_int_equal(read_frame(w, 2), 0);
        /* and one that is closed meanwhile */
        hold_origin(&w->faults[0], true);
        struct waiting *waiting = begin_read(w, 12 * FRAME, 10);
        zp_device_close(w->device);
        w->device = NULL;
        assert_int_equal(end_read(w, waiting), -EIO);
}

static uint64_t now_ms(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* As the kernel does it: with the same pages, at once. */
static void a_second_attempt_takes_no_second_deadline(void **state) {
        struct world *w = *state;
        w->options.deadline_ms = 6000;
        open_world(w, 1);
        fail_reads(&w->faults[0], 30, 1 << 20);
        uint64_t begun = now_ms();
        assert_int_equal(read_range(w, 29 * FRAME, 2 * FRAME), -EIO);
        int before = asked(&w->faults[0], 30);
        assert_int_equal(read_frame(w, 30), -EIO);
        assert_true(now_ms() - begun < 9000);
        assert_true(asked(&w->faults[0], 30) > before);
        fail_reads(&w->faults[0], 30, 1);
        assert_int_equal(read_frame(w, 30), 0); /* and it is an attempt */
}

/* Each of its own file's, of which many lie in one frame. */
static void second_attempts_of_several_readers_are_short_ones(void **state) {
        struct world *w = *state;
        w->options.deadline_ms = 6000;
        open_world(w, 1);
        fail_reads(&w->faults[0], 30, 1 << 20);
        uint64_t begun = now_ms();
        for (int attempt = 0; attempt < 2; attempt++) {
                struct waiting *reads[3];
                for (int i = 0; i < 3; i++)
                        reads[i] = begin_read(w, 30 * FRAME + (unsigned) i * 100, 100);
                for (int i = 0; i < 3; i++)
                        assert_int_equal(end_read(w, reads[i]), -EIO);
        }
        assert_true(now_ms() - begun < 9000);
}

/* Of a first one that did not come so far. */
static void what_is_known_to_be_a_second_attempt_is_a_short_one(void **state) {
        struct world *w = *state;
        w->options.deadline_ms = 60000;
        open_world(w, 1);
        fail_reads(&w->faults[0], 30, 1 << 20);
        uint64_t begun = now_ms();
        assert_int_equal(end_read(w, begin_attempt(w, 30 * FRAME, 100, true)), -EIO);
        assert_true(now_ms() - begun < 30000);
}

/* After several times what a second attempt has. */
static void *come_back(void *argument) {
        struct world *w = argument;
        nanosleep(&(struct timespec){ .tv_nsec = 500000000 }, NULL);
        fail_reads(&w->faults[0], 30, 0);
        return NULL;
}

static void after_both_attempts_the_next_read_has_all_the_time(void **state) {
        struct world *w = *state;
        pthread_t thread;
        w->options.deadline_ms = 2000;
        open_world(w, 1);
        fail_reads(&w->faults[0], 30, 1 << 20);
        for (int attempt = 0; attempt < 2; attempt++)
                assert_int_equal(read_frame(w, 30), -EIO);
        assert_int_equal(pthread_create(&thread, NULL, come_back, w), 0);
        assert_int_equal(read_frame(w, 30), 0);
        pthread_join(thread, NULL);
}

struct lines {
        pthread_mutex_t lock;
        unsigned failed, of_late, of_wrong;
};

static void take_line(void *context, const char *line) {
        struct lines *lines = context;
        pthread_mutex_lock(&lines->lock);
        bool is_failed = strstr(line, ": a read of 1000 bytes at ") != NULL;
        lines->failed += is_failed;
        lines->of_late += is_failed && strstr(line, "could not be had in time: the origin fails: ") &&
                          strstr(line, "can be reached");
        lines->of_wrong += is_failed && strstr(line, "is not what the index says, twice: ");
        pthread_mutex_unlock(&lines->lock);
}

static void a_read_that_fails_is_told_once_for_each_reason(void **state) {
        struct world *w = *state;
        struct lines lines = { .lock = PTHREAD_MUTEX_INITIALIZER };
        w->options.deadline_ms = 1000;
        w->options.notice = take_line;
        w->options.context = &lines;
        open_world(w, 1);
        for (uint32_t i = 2; i < 20; i += 6) {
                fail_reads(&w->faults[0], i, 1 << 20);
                assert_int_equal(read_frame(w, i), -EIO);
        }
        for (uint32_t i = 38; i > 21; i -= 6) {
                spoil_reads(&w->faults[0], i, 2);
                assert_int_equal(read_frame(w, i), -EIO);
        }
        await(statistics_of(w).failed_reads == 6); /* counted after the answer */
        close_world(w);
        assert_int_equal(lines.failed, 2);
        assert_int_equal(lines.of_late, 1);
        assert_int_equal(lines.of_wrong, 1);
}

static void the_next_origin_helps_out(void **state) {
        struct world *w = *state;
        open_world(w, 2);
        fail_reads(&w->faults[0], 1, 1);
        spoil_reads(&w->faults[0], 9, 1);
        assert_int_equal(read_frame(w, 1), 0);
        assert_int_equal(read_frame(w, 9), 0);
        assert_int_equal(asked(&w->faults[0], 1) + asked(&w->faults[0], 9), 2);
        assert_int_equal(asked(&w->faults[1], 1), 1);
        assert_int_equal(asked(&w->faults[1], 9), 1);
        assert_int_equal(read_frame(w, 15), 0);
        assert_int_equal(asked(&w->faults[1], 15), 0);
}

/* One pause for all that is fetched in the background would outlast the test. */
static void the_next_origin_helps_out_where_nobody_waits(void **state) {
        struct world *w = *state;
        w->options.retry_ms = 60000;
        open_world(w, 2);
        for (uint32_t i = 0; i < FRAMES; i++)
                fail_reads(&w->faults[0], i, 1 << 20);
        fail_reads(&w->faults[1], 20, 1);
        zp_device_prefetch(w->device, 8 * FRAME, 4 * FRAME);
        zp_device_prefetch(w->device, 20 * FRAME, 1);
        await(zp_device_is_idle(w->device));
        assert_int_equal(read_range(w, 8 * FRAME, 4 * FRAME), 0);
        assert_int_equal(statistics_of(w).waited_reads, 0);
        assert_int_equal(asked(&w->faults[1], 20), 1); /* what has failed everywhere is left out */
        zp_device_complete(w->device);
        await(zp_device_is_complete(w->device));
}

static void sequential_readers_find_the_next_frames_there(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        for (uint32_t i = 0; i < 4; i++)
                assert_int_equal(read_range(w, i * FRAME, FRAME), 0);
        /* frame 0 nothing, 1 one more, 2 two, 3 four: up to frame 7 */
        await(asked(&w->faults[0], 7) == 1);
        assert_int_equal(asked_at_all(&w->faults[0]), 8);
        uint64_t waited = statistics_of(w).waited_reads;
        await(zp_device_is_idle(w->device));
        for (uint32_t at = 4 * FRAME; at < 8 * FRAME; at += 4096)
                assert_int_equal(read_range(w, at, 4096), 0);
        assert_int_equal(statistics_of(w).waited_reads, waited);
        /* when half of the four were used, eight from there on */
        await(asked(&w->faults[0], 13) == 1);
        assert_int_equal(asked_at_all(&w->faults[0]), 14);
}

static void who_finds_all_there_has_nothing_fetched_behind_it(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        zp_device_prefetch(w->device, 0, 8 * FRAME);
        await(zp_device_is_idle(w->device));
        for (uint32_t i = 0; i < 8; i++)
                assert_int_equal(read_frame(w, i), 0);
        await(zp_device_is_idle(w->device));
        assert_int_equal(asked_at_all(&w->faults[0]), 8);
}

static void scattered_reads_fetch_nothing_else(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        for (uint32_t i = 0; i < FRAMES; i += 3)
                assert_int_equal(read_frame(w, (i * 7 + 3) % FRAMES), 0);
        await(zp_device_is_idle(w->device));
        for (uint32_t i = 0; i < FRAMES; i += 3)
                assert_int_equal(asked(&w->faults[0], (i * 7 + 3) % FRAMES), 1);
        assert_int_equal(asked_at_all(&w->faults[0]), (FRAMES + 2) / 3);
}

static void announced_ranges_are_there_before_they_are_read(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        zp_device_prefetch(w->device, 20 * FRAME + 1, FRAME);
        zp_device_prefetch(w->device, 5 * FRAME, 1);
        zp_device_prefetch(w->device, SIZE, UINT64_MAX);
        await(zp_device_is_idle(w->device));
        assert_int_equal(asked_at_all(&w->faults[0]), 3);
        assert_int_equal(read_frame(w, 21) + read_frame(w, 20) + read_frame(w, 5), 0);
        assert_int_equal(statistics_of(w).waited_reads, 0);
        assert_int_equal(statistics_of(w).ahead_frames, 3);
}

static void a_reader_hurries_what_was_fetched_ahead(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        zp_device_prefetch(w->device, 8 * FRAME, 1);
        await(asked(&w->faults[0], 8) == 1);
        struct waiting *waiting = begin_read(w, 8 * FRAME, 10);
        assert_int_equal(w->faults[0].raised, 1);
        hold_origin(&w->faults[0], false);
        assert_int_equal(end_read(w, waiting), 0);
        assert_int_equal(asked(&w->faults[0], 8), 1);
}

static void a_read_waits_for_nothing_that_is_fetched_in_the_background(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        zp_device_complete(w->device);
        await(asked(&w->faults[0], 0) == 1);
        uint32_t before = asked_at_all(&w->faults[0]);
        assert_true(before < FRAMES / 2); /* few at a time */
        struct waiting *waiting = begin_read(w, (FRAMES - 1) * FRAME, 10);
        /* it is asked for at once, with the background's reads still unanswered */
        await(asked(&w->faults[0], FRAMES - 1) == 1);
        hold_origin(&w->faults[0], false);
        assert_int_equal(end_read(w, waiting), 0);
        await(zp_device_is_complete(w->device));
        assert_int_equal(asked(&w->faults[0], FRAMES - 1), 1);
}

static void a_whole_device_becomes_a_plain_file(void **state) {
        struct world *w = *state;
        w->options.background_bytes_per_s = 4 << 20;
        fail_reads(&w->faults[0], 12, 3);
        open_world(w, 1);
        assert_int_equal(zp_device_open_complete(w->cache_fd, &w->packed.info.index_digest, SIZE, NULL), -ENOENT);
        zp_device_complete(w->device);
        await(has_file(w, ".raw"));
        assert_true(zp_device_is_complete(w->device));
        assert_false(has_file(w, ".part"));
        assert_int_equal(read_range(w, 0, SIZE), 0);
        close_world(w);

        int fd = zp_device_open_complete(w->cache_fd, &w->packed.info.index_digest, SIZE, NULL);
        assert_true(fd >= 0);
        assert_int_equal(file_size(fd), SIZE);
        uint8_t *bytes = file_bytes(fd);
        assert_memory_equal(bytes, w->data, SIZE);
        free(bytes);
        close(fd);
        open_world(w, 0); /* needs no origin any more */
        assert_true(zp_device_is_complete(w->device));
        assert_int_equal(read_range(w, 0, SIZE), 0);
}

static void the_background_keeps_to_its_rate(void **state) {
        struct world *w = *state;
        w->options.background_bytes_per_s = w->packed.info.pack_size * 4; /* a quarter of a second */
        open_world(w, 1);
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        zp_device_complete(w->device);
        await(zp_device_is_complete(w->device));
        clock_gettime(CLOCK_MONOTONIC, &end);
        double seconds = (double) (end.tv_sec - start.tv_sec) + (double) (end.tv_nsec - start.tv_nsec) / 1e9;
        assert_true(seconds > 0.2);
}

static void the_background_yields_to_readers(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        struct waiting *waiting = begin_read(w, 30 * FRAME, 10);
        zp_device_complete(w->device);
        struct waiting *other = begin_read(w, 10 * FRAME, 10);
        await(asked(&w->faults[0], 10) == 1);
        assert_int_equal(asked_at_all(&w->faults[0]), 2);
        hold_origin(&w->faults[0], false);
        assert_int_equal(end_read(w, waiting) + end_read(w, other), 0);
        await(zp_device_is_complete(w->device));
}

static void frames_outlive_the_process(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        assert_int_equal(read_range(w, 0, 10 * FRAME), 0);
        close_world(w);
        open_world(w, 1);
        assert_int_equal(read_range(w, 0, 10 * FRAME), 0);
        assert_int_equal(asked_at_all(&w->faults[0]), 10);
        assert_int_equal(statistics_of(w).waited_reads, 0);
}

static void a_disk_without_room_costs_no_read(void **state) {
        struct world *w = *state;
        open_world(w, 1);
        assert_int_equal(read_frame(w, 0), 0);
        struct rlimit before, limit;
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
        limit = before;
        limit.rlim_cur = FRAME; /* no more of the copy can be written */
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        assert_int_equal(read_range(w, 100, 6 * FRAME), 0); /* one frame from the disk, the others from memory */
        assert_int_equal(read_frame(w, 3), 0);
        assert_int_equal(read_range(w, FRAME, 5 * FRAME), 0);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(asked(&w->faults[0], 3), 1);
        assert_true(statistics_of(w).unkept_frames >= 5);
}

static void without_a_directory_everything_still_reads(void **state) {
        struct world *w = *state;
        w->options.cache_fd = -1;
        w->options.memory_limit = 8 * FRAME;
        open_world(w, 1);
        for (int i = 0; i < 2; i++)
                for (uint64_t at = 0; at < SIZE; at += 5000)
                        assert_int_equal(read_range(w, at, at + 30000 < SIZE ? 30000 : 1), 0);
        assert_false(zp_device_is_complete(w->device));
}

static void memory_under_way_is_bounded(void **state) {
        struct world *w = *state;
        struct waiting *waiting[FRAMES];
        w->options.memory_limit = 4 * FRAME;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        for (uint32_t i = 0; i < FRAMES; i++)
                waiting[i] = begin_read(w, (uint64_t) i * FRAME, 1);
        hold_origin(&w->faults[0], false);
        for (uint32_t i = 0; i < FRAMES; i++)
                assert_int_equal(end_read(w, waiting[i]), 0);
        assert_true(w->faults[0].outstanding_max <= 4 * FRAME);
        assert_true(w->faults[0].outstanding_max > FRAME);
}

/* A frame each, on an origin that is slow for all of them. */
static void memory_under_way_is_bounded_for_many_devices_and_all_get_on(void **state) {
        struct world *w = *state;
        struct zp_device *devices[FRAMES];
        struct packed packed[FRAMES];
        struct waiting *waiting[FRAMES];
        w->options.memory_limit = 4 * FRAME;
        packed[0] = w->packed;
        for (uint32_t i = 0; i < FRAMES; i++) {
                w->data[SIZE - 1] = (uint8_t) i;
                if (i > 0)
                        packed[i] = w->packed = pack_bytes(w->data, SIZE, FRAME, 2);
                open_world(w, 1);
                devices[i] = w->device;
        }
        hold_origin(&w->faults[0], true);
        for (uint32_t i = 0; i < FRAMES; i++) {
                w->device = devices[i];
                waiting[i] = begin_read(w, (uint64_t) i * FRAME, 1);
        }
        size_t held = outstanding(&w->faults[0]);
        hold_origin(&w->faults[0], false);
        for (uint32_t i = 0; i < FRAMES; i++)
                assert_int_equal(end_read(w, waiting[i]), 0);
        assert_true(held > 4 * FRAME); /* more than one of them would have */
        assert_true(w->faults[0].outstanding_max <= 8 * FRAME);
        for (uint32_t i = 1; i < FRAMES; i++) {
                zp_device_close(devices[i]);
                packed_clear(&packed[i]);
        }
        w->device = devices[0];
        w->packed = packed[0];
}

static void a_device_whose_origin_hangs_holds_up_its_own_readers_alone(void **state) {
        struct world *w = *state;
        struct waiting *waiting[FRAMES];
        struct zp_error err = { 0 };
        w->options.memory_limit = 4 * FRAME;
        open_world(w, 1);
        hold_origin(&w->faults[0], true);
        for (uint32_t i = 0; i < FRAMES; i++)
                waiting[i] = begin_read(w, (uint64_t) i * FRAME, 1);

        struct packed other = pack_bytes(w->data, SIZE / 2, FRAME, 2);
        struct zp_device_description description = { .digest = other.info.index_digest,
                                                     .index = other.index,
                                                     .index_size = other.info.index_size,
                                                     .raw_fd = -1,
                                                     .origin_count = 1 };
        struct zp_device *hung = w->device;
        assert_int_equal(zp_device_origin_file(dup(other.fd), false, &description.origins[0], &err), 0);
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, &err), 0);
        for (uint32_t i = 0; i < FRAMES / 2; i++)
                assert_int_equal(end_read(w, begin_read(w, (uint64_t) i * FRAME, 1)), 0);
        zp_device_close(w->device);
        w->device = hung;

        hold_origin(&w->faults[0], false);
        for (uint32_t i = 0; i < FRAMES; i++)
                assert_int_equal(end_read(w, waiting[i]), 0);
        packed_clear(&other);
}

static void what_is_at_hand_is_not_copied(void **state) {
        struct world *w = *state;
        struct zp_device_description description = describe(w);
        open_world(w, 1);
        zp_device_close(w->device);
        struct zp_device_origin *origin;
        assert_int_equal(zp_device_origin_file(dup(w->packed.fd), true, &origin, NULL), 0);
        description.origins[description.origin_count++] = origin;
        uint64_t before = statistics_of(w).unkept_frames;
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, NULL), 0);
        assert_int_equal(read_range(w, 0, SIZE), 0);
        assert_int_equal(statistics_of(w).unkept_frames - before, FRAMES);
        zp_device_close(w->device);

        description = describe(w);
        description.raw_fd = temporary_file();
        assert_int_equal(zp_pwrite_all(description.raw_fd, w->data, SIZE, 0, "raw", NULL), 0);
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, NULL), 0);
        assert_true(zp_device_is_complete(w->device));
        assert_int_equal(read_range(w, 0, SIZE), 0);
}

/* ---- files on a file system that hangs: who reads them is kept by a job before ---- */

struct hung {
        struct zp_pool *readers;
        struct zp_pool_item item;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        bool is_over;
};

static void wait_for_the_end(void *argument, unsigned worker) {
        struct hung *hung = argument;
        (void) worker;
        pthread_mutex_lock(&hung->lock);
        while (!hung->is_over)
                pthread_cond_wait(&hung->changed, &hung->lock);
        pthread_mutex_unlock(&hung->lock);
}

static void hang(struct hung *hung) {
        *hung = (struct hung){ .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
        assert_int_equal(zp_pool_new(1, &hung->readers, NULL), 0);
        zp_pool_submit(hung->readers, &hung->item, wait_for_the_end, hung);
}

static void end_hanging(struct hung *hung) {
        pthread_mutex_lock(&hung->lock);
        hung->is_over = true;
        pthread_cond_signal(&hung->changed);
        pthread_mutex_unlock(&hung->lock);
}

/* With the pack in such a file, and `origins` others. */
static void open_on_hung(struct world *w, struct hung *hung, unsigned patience_ms, unsigned origins) {
        struct zp_device_description description = describe(w);
        struct zp_error err = { 0 };
        assert_int_equal(zp_device_origin_slow_file(dup(w->packed.fd), false, hung->readers, patience_ms,
                                                    &description.origins[description.origin_count++], &err),
                         0);
        for (unsigned i = 0; i < origins; i++)
                description.origins[description.origin_count++] = new_origin(w, (int) i);
        assert_int_equal(zp_device_engine_new(&w->options, &w->engine, &err), 0);
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, &err), 0);
}

static void who_asks_does_not_wait_for_a_file_that_hangs(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        open_on_hung(w, &hung, 3600000, 0);
        struct waiting *waiting = begin_read(w, 7 * FRAME, 3 * FRAME);
        assert_false(zp_device_is_idle(w->device));
        end_hanging(&hung);
        assert_int_equal(end_read(w, waiting), 0);
        assert_int_equal(read_range(w, 0, SIZE), 0);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

/* Though nothing else is asked for. */
static void what_hangs_is_fetched_from_where_else_it_is(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        open_on_hung(w, &hung, 0, 1);
        assert_int_equal(read_frame(w, 7), 0);
        assert_int_equal(asked_at_all(&w->faults[0]), 1);
        end_hanging(&hung);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

/* Nor does anybody wait for it. */
static void what_hangs_and_was_announced_is_fetched_from_where_else_it_is(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        open_on_hung(w, &hung, 0, 1);
        zp_device_prefetch(w->device, 8 * FRAME, 4 * FRAME);
        await(zp_device_is_idle(w->device));
        assert_int_equal(asked_at_all(&w->faults[0]), 4);
        assert_int_equal(statistics_of(w).ahead_frames, 4);
        end_hanging(&hung);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

static void nobody_waits_for_what_is_known_to_hang(void **state) {
        struct world *w = *state;
        struct hung hung;
        const unsigned patience_ms = 1000;
        hang(&hung);
        open_on_hung(w, &hung, patience_ms, 1);
        assert_int_equal(read_frame(w, 0), 0);
        uint64_t begun = now_ms();
        for (uint32_t i = 2; i < FRAMES; i += 2)
                assert_int_equal(read_frame(w, FRAMES - i), 0);
        assert_true(now_ms() - begun < 10 * patience_ms);
        end_hanging(&hung);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

static void a_read_that_was_given_up_is_not_waited_for(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        w->options.deadline_ms = 50;
        open_on_hung(w, &hung, 3600000, 0);
        assert_int_equal(read_frame(w, 7), -EIO);
        struct waiting *waiting = begin_read(w, 9 * FRAME, 1);
        zp_device_close(zp_steal(&w->device)); /* with a read under way, while it hangs */
        assert_int_equal(end_read(w, waiting), -EIO);
        end_hanging(&hung);
        zp_pool_free(hung.readers);
}

static void an_unpacked_file_that_hangs_keeps_its_own_readers_alone(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        open_world(w, 1);
        struct zp_device *other = w->device;
        w->data[SIZE / 2] ^= 1;
        struct packed packed = w->packed;
        w->packed = pack_bytes(w->data, SIZE, FRAME, 2);
        struct zp_device_description description = describe(w);
        description.raw_fd = temporary_file();
        description.raw_readers = hung.readers;
        assert_int_equal(zp_pwrite_all(description.raw_fd, w->data, SIZE, 0, "raw", NULL), 0);
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, NULL), 0);
        struct waiting *waiting = begin_read(w, 100, 5 * FRAME);
        assert_int_equal(zp_device_is_idle(w->device), false);
        struct zp_device *raw = w->device;
        w->device = other;
        assert_int_equal(read_frame(w, 3), 0);
        end_hanging(&hung);
        assert_int_equal(end_read(w, waiting), 0);
        zp_device_close(raw);
        packed_clear(&packed);
        zp_pool_free(hung.readers);
}

/* All of the device in such a file, which has its first `size` bytes, and `origins` origins. Returns its descriptor. */
static int open_on_hung_raw(struct world *w, struct hung *hung, unsigned patience_ms, unsigned origins, uint32_t size) {
        struct zp_device_description description = describe(w);
        struct zp_error err = { 0 };
        int fd = temporary_file();
        description.raw_fd = fd;
        description.raw_readers = hung->readers;
        description.raw_patience_ms = patience_ms;
        assert_int_equal(zp_pwrite_all(fd, w->data, size, 0, "raw", NULL), 0);
        for (unsigned i = 0; i < origins; i++)
                description.origins[description.origin_count++] = new_origin(w, (int) i);
        assert_int_equal(zp_device_engine_new(&w->options, &w->engine, &err), 0);
        assert_int_equal(zp_device_open(w->engine, &description, &w->device, &err), 0);
        return fd;
}

static void an_unpacked_file_that_hangs_gives_way_to_the_origins(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        open_on_hung_raw(w, &hung, 1, 1, SIZE);
        assert_true(zp_device_is_complete(w->device));
        assert_int_equal(read_range(w, 7 * FRAME - 10, FRAME), 0);
        assert_int_equal(asked_at_all(&w->faults[0]), 2);
        end_hanging(&hung);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

static void reads_of_an_unpacked_file_that_hangs_end_with_their_time(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        w->options.deadline_ms = 50;
        open_on_hung_raw(w, &hung, 1, 0, SIZE);
        assert_int_equal(read_frame(w, 7), -EIO);
        await(statistics_of(w).failed_reads == 1); /* counted after the answer */
        struct waiting *waiting = begin_read(w, 9 * FRAME, 1);
        zp_device_close(zp_steal(&w->device)); /* with a read under way, while it hangs */
        assert_int_equal(end_read(w, waiting), -EIO);
        end_hanging(&hung);
        zp_pool_free(hung.readers);
}

static void what_an_unpacked_file_does_not_have_is_fetched(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        end_hanging(&hung);
        open_on_hung_raw(w, &hung, 1000, 1, 5 * FRAME);
        assert_int_equal(read_range(w, 0, 5 * FRAME), 0);
        assert_int_equal(asked_at_all(&w->faults[0]), 0);
        assert_int_equal(read_range(w, 0, SIZE), 0);
        close_world(w);
        open_on_hung_raw(w, &hung, 1000, 0, 5 * FRAME);
        assert_int_equal(read_range(w, 0, 5 * FRAME), 0);
        assert_int_equal(read_range(w, 4 * FRAME, 2 * FRAME), -EIO);
        zp_device_close(zp_steal(&w->device));
        zp_pool_free(hung.readers);
}

/* Whether there are origins or not. */
static void what_is_announced_of_an_unpacked_file_is_not_fetched(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        end_hanging(&hung);
        for (unsigned origins = 0; origins < 2; origins++) {
                open_on_hung_raw(w, &hung, 1000, origins, SIZE);
                zp_device_prefetch(w->device, 8 * FRAME, 4 * FRAME);
                await(zp_device_is_idle(w->device));
                assert_int_equal(statistics_of(w).ahead_frames, 0);
                assert_int_equal(asked_at_all(&w->faults[0]), 0);
                assert_int_equal(read_range(w, 8 * FRAME, 4 * FRAME), 0);
                close_world(w);
        }
        zp_pool_free(hung.readers);
}

/* For the last close of a file can hang as a read can. */
static void who_closes_does_not_wait_for_a_file_that_hangs(void **state) {
        struct world *w = *state;
        struct hung hung;
        hang(&hung);
        int fd = open_on_hung_raw(w, &hung, 1000, 0, SIZE);
        zp_device_close(zp_steal(&w->device));
        assert_true(fcntl(fd, F_GETFD) >= 0);
        struct zp_device_origin *origin;
        int pack_fd = dup(w->packed.fd);
        assert_int_equal(zp_device_origin_slow_file(pack_fd, false, hung.readers, 1000, &origin, NULL), 0);
        origin->ops->close(origin);
        assert_true(fcntl(pack_fd, F_GETFD) >= 0);
        end_hanging(&hung);
        zp_pool_free(hung.readers);
        assert_int_equal(fcntl(fd, F_GETFD), -1);
        assert_int_equal(fcntl(pack_fd, F_GETFD), -1);
}

static void a_damaged_index_is_refused(void **state) {
        struct world *w = *state;
        struct zp_error err = { 0 };
        open_world(w, 1);
        struct zp_device *device;
        w->packed.index[50] ^= 1;
        struct zp_device_description description = describe(w);
        assert_int_equal(zp_device_open(w->engine, &description, &device, &err), -EBADMSG);
        w->packed.index[50] ^= 1;
        assert_int_equal(zp_device_open(w->engine, &description, &device, &err), -ENOENT); /* no origin */
}

static bool is_used(void *context, const char *hex) {
        return strncmp(hex, context, strlen(context)) == 0;
}

static void the_copies_used_longest_ago_make_room(void **state) {
        struct world *w = *state;
        static const char *const names[] = { "aa", "bb", "cc", "dd" };
        char name[4][80];
        for (int i = 0; i < 4; i++) { /* aa is the oldest, but in use */
                snprintf(name[i], sizeof name[i], "%s%062d.%s", names[i], 0, i % 2 ? "raw" : "part");
                int fd = openat(w->cache_fd, name[i], O_CREAT | O_RDWR, 0600);
                assert_int_equal(zp_pwrite_all(fd, w->data, SIZE, 0, name[i], NULL), 0);
                const struct timespec times[2] = { { .tv_sec = 1000 + i }, { .tv_sec = 1000 + i } };
                assert_int_equal(futimens(fd, times), 0);
                close(fd);
        }
        int fd = openat(w->cache_fd, "something else", O_CREAT | O_RDWR, 0600);
        close(fd);
        w->options.cache_limit = 2 * SIZE + 65536;
        w->options.is_in_use = is_used;
        w->options.context = (void *) "aa";
        open_world(w, 1);
        await(faccessat(w->cache_fd, name[2], F_OK, 0) < 0);
        assert_int_equal(faccessat(w->cache_fd, name[0], F_OK, 0), 0);
        assert_int_equal(faccessat(w->cache_fd, name[1], F_OK, 0), -1);
        assert_int_equal(faccessat(w->cache_fd, name[3], F_OK, 0), 0);
        assert_int_equal(faccessat(w->cache_fd, "something else", F_OK, 0), 0);
        struct zp_device_statistics statistics;
        await((zp_device_engine_statistics(w->engine, &statistics), statistics.evicted_copies == 2));
}

struct stress {
        struct world *world;
        unsigned seed;
        int bad;
};

static void *read_at_random(void *argument) {
        struct stress *stress = argument;
        uint64_t state = stress->seed;
        for (int i = 0; i < 400; i++) {
                state = state * 6364136223846793005u + 1442695040888963407u;
                uint64_t offset = (state >> 20) % SIZE;
                uint32_t size = (uint32_t) (state >> 50) * 4 + 1;
                if (offset + size > SIZE)
                        size = (uint32_t) (SIZE - offset);
                stress->bad += read_range(stress->world, offset, size) != 0;
        }
        return NULL;
}

static void many_readers_and_many_faults_give_right_bytes(void **state) {
        struct world *w = *state;
        for (uint32_t i = 0; i < FRAMES; i++) {
                w->faults[0].fail[i] = (int) (i * 5 % 4);
                w->faults[1].spoil[i] = i % 3 == 0;
        }
        w->options.memory_limit = 8 * FRAME;
        open_world(w, 2);
        zp_device_complete(w->device);
        struct stress stress[8];
        pthread_t threads[8];
        for (unsigned i = 0; i < 8; i++) {
                stress[i] = (struct stress){ .world = w, .seed = i + 1 };
                assert_int_equal(pthread_create(&threads[i], NULL, read_at_random, &stress[i]), 0);
        }
        for (unsigned i = 0; i < 8; i++) {
                pthread_join(threads[i], NULL);
                assert_int_equal(stress[i].bad, 0);
        }
        await(has_file(w, ".raw"));
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(every_range_reads_as_the_device),
                test(a_frame_is_fetched_once_however_many_wait),
                test(wrong_bytes_are_asked_for_again_and_then_an_error_of_that_frame_alone),
                test(failures_are_retried_until_the_deadline),
                test(an_origin_that_says_nothing_does_not_hang_its_readers),
                test(a_second_attempt_takes_no_second_deadline),
                test(second_attempts_of_several_readers_are_short_ones),
                test(what_is_known_to_be_a_second_attempt_is_a_short_one),
                test(after_both_attempts_the_next_read_has_all_the_time),
                test(a_read_that_fails_is_told_once_for_each_reason),
                test(the_next_origin_helps_out),
                test(the_next_origin_helps_out_where_nobody_waits),
                test(sequential_readers_find_the_next_frames_there),
                test(who_finds_all_there_has_nothing_fetched_behind_it),
                test(scattered_reads_fetch_nothing_else),
                test(announced_ranges_are_there_before_they_are_read),
                test(a_reader_hurries_what_was_fetched_ahead),
                test(a_read_waits_for_nothing_that_is_fetched_in_the_background),
                test(a_whole_device_becomes_a_plain_file),
                test(the_background_keeps_to_its_rate),
                test(the_background_yields_to_readers),
                test(frames_outlive_the_process),
                test(a_disk_without_room_costs_no_read),
                test(without_a_directory_everything_still_reads),
                test(memory_under_way_is_bounded),
                test(memory_under_way_is_bounded_for_many_devices_and_all_get_on),
                test(a_device_whose_origin_hangs_holds_up_its_own_readers_alone),
                test(what_is_at_hand_is_not_copied),
                test(who_asks_does_not_wait_for_a_file_that_hangs),
                test(what_hangs_is_fetched_from_where_else_it_is),
                test(what_hangs_and_was_announced_is_fetched_from_where_else_it_is),
                test(nobody_waits_for_what_is_known_to_hang),
                test(a_read_that_was_given_up_is_not_waited_for),
                test(an_unpacked_file_that_hangs_keeps_its_own_readers_alone),
                test(an_unpacked_file_that_hangs_gives_way_to_the_origins),
                test(reads_of_an_unpacked_file_that_hangs_end_with_their_time),
                test(what_an_unpacked_file_does_not_have_is_fetched),
                test(what_is_announced_of_an_unpacked_file_is_not_fetched),
                test(who_closes_does_not_wait_for_a_file_that_hangs),
                test(a_damaged_index_is_refused),
                test(the_copies_used_longest_ago_make_room),
                test(many_readers_and_many_faults_give_right_bytes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
