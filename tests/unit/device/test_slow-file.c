/* SPDX-License-Identifier: Apache-2.0
 *
 * Whoever reads a file on a file system that hangs is told in time, and waits for nothing.
 */
#include "device-fixture.h"

#include <limits.h>

#include "base/condition.h"
#include "device/slow-file.h"

#define BYTES 10000u

/* One thread, which a job before keeps while the file system hangs. */
struct slow {
        struct zp_pool *readers;
        struct zp_pool_item item;
        struct zp_slow_file *file;
        uint8_t bytes[BYTES];
        int fd;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        /* guarded by lock */
        bool is_hung;
        unsigned answers;
};

struct answer {
        struct slow *slow;
        int result, count;
        bool is_right; /* the bytes are the file's first ones */
        char why[ZP_ERROR_MESSAGE_MAX];
};

static void wait_while_hung(void *argument, unsigned worker) {
        struct slow *slow = argument;
        (void) worker;
        pthread_mutex_lock(&slow->lock);
        while (slow->is_hung)
                pthread_cond_wait(&slow->changed, &slow->lock);
        pthread_mutex_unlock(&slow->lock);
}

static void begin(struct slow *slow, bool is_hung, unsigned patience_ms) {
        *slow = (struct slow){ .lock = PTHREAD_MUTEX_INITIALIZER,
                               .changed = PTHREAD_COND_INITIALIZER,
                               .is_hung = is_hung,
                               .fd = temporary_file() };
        for (uint32_t i = 0; i < BYTES; i++)
                slow->bytes[i] = (uint8_t) (i * 7 + i / 256);
        assert_int_equal(zp_pwrite_all(slow->fd, slow->bytes, BYTES, 0, "file", NULL), 0);
        assert_int_equal(zp_pool_new(1, &slow->readers, NULL), 0);
        zp_pool_submit(slow->readers, &slow->item, wait_while_hung, slow);
        assert_int_equal(zp_slow_file_new(slow->fd, slow->readers, patience_ms, "file", &slow->file, NULL), 0);
}

static void go_on(struct slow *slow) {
        pthread_mutex_lock(&slow->lock);
        slow->is_hung = false;
        pthread_cond_broadcast(&slow->changed);
        pthread_mutex_unlock(&slow->lock);
}

static void end(struct slow *slow) {
        zp_slow_file_close(slow->file);
        go_on(slow);
        zp_pool_free(slow->readers);
        assert_int_equal(fcntl(slow->fd, F_GETFD), -1);
}

static void on_answer(void *context, int result, const void *bytes, const struct zp_error *err) {
        struct answer *answer = context;
        struct slow *slow = answer->slow;
        pthread_mutex_lock(&slow->lock);
        answer->result = result;
        answer->count++;
        answer->is_right = bytes && memcmp(bytes, slow->bytes, 100) == 0;
        snprintf(answer->why, sizeof answer->why, "%s", err ? err->message : "");
        slow->answers++;
        pthread_cond_broadcast(&slow->changed);
        pthread_mutex_unlock(&slow->lock);
}

static void await_answers(struct slow *slow, unsigned count) {
        pthread_mutex_lock(&slow->lock);
        while (slow->answers < count)
                pthread_cond_wait(&slow->changed, &slow->lock);
        pthread_mutex_unlock(&slow->lock);
}

static void a_file_that_answers_gives_its_bytes_or_says_why_not(void **state) {
        (void) state;
        struct slow slow;
        begin(&slow, false, 3600000);
        struct answer good = { .slow = &slow }, beyond = { .slow = &slow };
        zp_slow_file_read(slow.file, 0, 100, on_answer, &good);
        zp_slow_file_read(slow.file, BYTES - 10, 100, on_answer, &beyond);
        await_answers(&slow, 2);
        assert_int_equal(good.result, 0);
        assert_true(good.is_right && !good.why[0]);
        assert_true(beyond.result < 0 && beyond.why[0]);
        end(&slow);
}

static void what_takes_too_long_is_given_up_and_no_more_is_asked_until_it_is_back(void **state) {
        (void) state;
        struct slow slow;
        begin(&slow, true, 200);
        struct answer late = { .slow = &slow }, more = { .slow = &slow }, then = { .slow = &slow };
        zp_slow_file_read(slow.file, 0, 100, on_answer, &late);
        zp_slow_file_look(slow.file, 0);
        assert_int_equal(late.count, 0);
        zp_slow_file_look(slow.file, zp_monotonic_ms() + 200);
        assert_int_equal(late.result, -ETIMEDOUT);
        assert_string_equal(late.why, "file: its file system does not answer");
        uint64_t until_ms = zp_monotonic_ms() + 200;
        while (zp_monotonic_ms() < until_ms)
                sched_yield();
        zp_slow_file_read(slow.file, 0, 100, on_answer, &more);
        assert_int_equal(more.result, -ETIMEDOUT);
        go_on(&slow);
        do {
                then.result = 0;
                unsigned before = slow.answers;
                zp_slow_file_read(slow.file, 0, 100, on_answer, &then);
                await_answers(&slow, before + 1);
        } while (then.result == -ETIMEDOUT);
        assert_true(then.result == 0 && then.is_right);
        assert_true(late.count == 1 && more.count == 1);
        end(&slow);
}

static bool is_same(const void *context, const void *argument) {
        return context == argument;
}

static void a_cancelled_read_ends_at_once_and_no_other(void **state) {
        (void) state;
        struct slow slow;
        begin(&slow, true, UINT_MAX);
        struct answer one = { .slow = &slow }, other = { .slow = &slow };
        zp_slow_file_read(slow.file, 0, 100, on_answer, &one);
        zp_slow_file_read(slow.file, 0, 100, on_answer, &other);
        zp_slow_file_look(slow.file, zp_monotonic_ms() + 3600000);
        zp_slow_file_cancel(slow.file, is_same, &one);
        assert_true(one.count == 1 && one.result == -ECANCELED && other.count == 0);
        go_on(&slow);
        await_answers(&slow, 2);
        assert_true(other.result == 0 && other.is_right && one.count == 1);
        end(&slow);
}

static void who_closes_a_file_that_hangs_waits_for_nothing(void **state) {
        (void) state;
        struct slow slow;
        begin(&slow, true, UINT_MAX);
        struct answer one = { .slow = &slow };
        zp_slow_file_read(slow.file, 0, 100, on_answer, &one);
        zp_slow_file_cancel(slow.file, is_same, &one);
        zp_slow_file_close(slow.file);
        assert_true(fcntl(slow.fd, F_GETFD) >= 0);
        go_on(&slow);
        zp_pool_free(slow.readers);
        assert_int_equal(fcntl(slow.fd, F_GETFD), -1);
        assert_int_equal(one.count, 1);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_file_that_answers_gives_its_bytes_or_says_why_not),
                cmocka_unit_test(what_takes_too_long_is_given_up_and_no_more_is_asked_until_it_is_back),
                cmocka_unit_test(a_cancelled_read_ends_at_once_and_no_other),
                cmocka_unit_test(who_closes_a_file_that_hangs_waits_for_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
