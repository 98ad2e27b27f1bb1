/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of devices, with devices that a test plays: what is open is closed in time, and what cannot be opened keeps
 * nobody but those who want it, and them no longer than a read may take.
 */
#include "../control/support.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "snapshotter/data/table-internal.h"

static struct snap_table *table;
static atomic_uint opened, closed;
/* Many more than there are threads that open devices. */
#define DAMNED 20
#define DAMNED_COUNT 230
static atomic_uint damned_attempts[DAMNED + DAMNED_COUNT];
static void (*_Atomic on_close)(void); /* the next closer's, and it alone */

/* ---- the devices ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool is_held;           /* whoever opens number 1 hangs; guarded by lock */
static atomic_bool are_damned; /* numbers from DAMNED on fail */
static atomic_uint failures;   /* so many attempts to come fail */
static atomic_int failure;

int __wrap_snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct snap_remote *remote,
                            struct zp_device **out, struct zp_error *error);
void __wrap_zp_device_close(struct zp_device *device);
bool __wrap_zp_device_is_idle(const struct zp_device *device);
uint64_t __wrap_zp_device_size(const struct zp_device *device);

static void hold(bool held) {
        pthread_mutex_lock(&lock);
        is_held = held;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
}

int __wrap_snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct snap_remote *remote,
                            struct zp_device **out, struct zp_error *error) {
        (void) data;
        (void) remote;
        atomic_fetch_add(&opened, 1);
        pthread_mutex_lock(&lock);
        while (is_held && digest->bytes[7] == 1)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
        if (atomic_load(&are_damned) && digest->bytes[7] >= DAMNED) {
                atomic_fetch_add(&damned_attempts[digest->bytes[7]], 1);
                return zp_error_set(error, EBUSY, "the test says so");
        }
        if (atomic_load(&failures)) {
                atomic_fetch_sub(&failures, 1);
                return zp_error_set(error, atomic_load(&failure), "the test says so");
        }
        *out = (struct zp_device *) &opened;
        return 0;
}

void __wrap_zp_device_close(struct zp_device *device) {
        if (!device)
                return;
        void (*do_first)(void) = atomic_exchange(&on_close, NULL);
        if (do_first)
                do_first();
        atomic_fetch_add(&closed, 1);
}

bool __wrap_zp_device_is_idle(const struct zp_device *device) {
        (void) device;
        return true;
}

uint64_t __wrap_zp_device_size(const struct zp_device *device) {
        (void) device;
        return 4096;
}

/* What was asked to be prefetched, in its order. */
static uint64_t prefetched[8];
static atomic_uint prefetched_count;
void __wrap_zp_device_prefetch(struct zp_device *device, uint64_t offset, uint64_t size);

void __wrap_zp_device_prefetch(struct zp_device *device, uint64_t offset, uint64_t size) {
        (void) device;
        assert_int_equal(size, 4096);
        pthread_mutex_lock(&lock);
        prefetched[atomic_load(&prefetched_count) % 8] = offset;
        atomic_fetch_add(&prefetched_count, 1); /* whoever sees it sees the offset */
        pthread_mutex_unlock(&lock);
}

/* ---- */

/* Waits, at most 30 s, for what the table does on its own. */
#define await(condition)                                           \
        do {                                                       \
                time_t until_ = time(NULL) + 30;                   \
                while (!(condition)) {                             \
                        if (time(NULL) > until_)                   \
                                fail_msg("never: %s", #condition); \
                        sched_yield();                             \
                }                                                  \
        } while (0)

static struct snap_data_options options;
static struct snap_data data;

static int setup_table(void **state) {
        options = (struct snap_data_options){ .idle_ms = 1, .device = { .cache_fd = -1, .deadline_ms = 10000 } };
        data = (struct snap_data){ .options = &options };
        atomic_store(&prefetched_count, 0);
        atomic_store(&opened, 0);
        atomic_store(&closed, 0);
        atomic_store(&failures, 0);
        atomic_store(&are_damned, false);
        int r = setup(state) < 0 ? -1 : snap_table_new(&data, &table, &err);
        data.table = table;
        return r;
}

/* In which what does not get on is given up soon. */
static int setup_short_table(void **state) {
        int r = setup_table(state);
        table->deadline_ms = 1200;
        return r;
}

/* In which a read may take an hour. */
static int setup_long_table(void **state) {
        int r = setup_table(state);
        table->deadline_ms = 3600000;
        return r;
}

static int teardown_table(void **state) {
        snap_table_free(table);
        return teardown(state);
}

static int use(uint8_t number) {
        struct zp_digest digest = { .bytes = { [7] = number } };
        struct snap_entry *entry;
        int r = snap_table_get(table, snap_device_id(&digest), &digest, &entry, NULL);
        if (r == 0)
                snap_table_let_go(entry);
        return r;
}

/* In a place that whoever closes has passed already. */
static void use_the_first(void) {
        use(1);
}

static void a_device_that_is_opened_while_another_is_closed_is_closed_as_well(void **state) {
        (void) state;
        on_close = use_the_first;
        assert_ok(use(200));
        await(atomic_load(&closed) == 2);
        assert_int_equal(opened, 2);
}

static atomic_bool hangs;

static void hang(void) {
        atomic_store(&hangs, true);
        pthread_mutex_lock(&lock);
        while (is_held)
                pthread_cond_wait(&changed, &lock);
        pthread_mutex_unlock(&lock);
}

struct waiting {
        struct snap_wait wait;
        atomic_bool is_told;
        int result;
        uint64_t told_ms;
        char message[ZP_ERROR_MESSAGE_MAX];
};

static void on_told(struct snap_wait *wait, struct snap_entry *entry, int result, const struct zp_error *error) {
        struct waiting *waiting = (struct waiting *) wait;
        waiting->result = result;
        waiting->told_ms = zp_monotonic_ms();
        snprintf(waiting->message, sizeof waiting->message, "%s", result < 0 ? error->message : "");
        if (result == 0)
                snap_table_let_go(entry);
        atomic_store(&waiting->is_told, true);
}

static void want(struct waiting *waiting, uint8_t number) {
        struct zp_digest digest = { .bytes = { [7] = number } };
        *waiting = (struct waiting){ .wait = { .done = on_told, .comes_again = true } };
        snap_table_want(table, snap_device_id(&digest), &digest, &waiting->wait);
}

static void a_device_that_hangs_as_it_is_opened_keeps_nobody_else(void **state) {
        (void) state;
        struct waiting reads[40];
        hold(true);
        for (unsigned i = 0; i < sizeof reads / sizeof *reads; i++)
                want(&reads[i], 1);
        assert_ok(use(2));
        for (unsigned i = 0; i < sizeof reads / sizeof *reads; i++)
                assert_false(reads[i].is_told);
        hold(false);
        for (unsigned i = 0; i < sizeof reads / sizeof *reads; i++) {
                await(reads[i].is_told);
                assert_int_equal(reads[i].result, 0);
        }
        assert_int_equal(opened, 2);
}

/* Whoever wants that very device waits, and has it then. */
static void a_device_that_hangs_as_it_is_closed_keeps_nobody_else(void **state) {
        (void) state;
        struct waiting read;
        atomic_store(&hangs, false);
        on_close = hang;
        hold(true);
        assert_ok(use(100));
        await(atomic_load(&hangs));
        for (uint8_t number = 200; number < 220; number++)
                assert_ok(use(number));
        await(atomic_load(&closed) == 20);
        want(&read, 100);
        hold(false);
        await(read.is_told);
        assert_int_equal(read.result, 0);
        assert_int_equal(opened, 22);
}

static void what_fails_for_a_while_is_tried_again(void **state) {
        (void) state;
        atomic_store(&failure, EBUSY);
        atomic_store(&failures, 2);
        assert_ok(use(3));
        assert_int_equal(opened, 3);
}

/* And once more at once, as the kernel does, then not for long. */
static void who_has_waited_as_long_as_a_read_may_is_told(void **state) {
        (void) state;
        struct waiting first, second, third;
        hold(true);
        want(&first, 1);
        await(first.is_told);
        assert_int_equal(first.result, -EIO);
        assert_non_null(strstr(first.message, "it cannot be opened in time"));
        assert_true(first.told_ms - first.wait.began_ms >= 1000);
        want(&second, 1);
        assert_true(second.wait.is_second);
        await(second.is_told);
        want(&third, 1);
        assert_false(third.wait.is_second);
        hold(false);
        await(third.is_told);
        assert_int_equal(third.result, 0);
}

static void what_is_not_there_is_told_at_once_and_leaves_nothing(void **state) {
        (void) state;
        atomic_store(&failure, ENOENT);
        atomic_store(&failures, 100);
        for (uint8_t number = 1; number <= 100; number++)
                assert_int_equal(use(number), -ENOENT);
        assert_int_equal(opened, 100);
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                assert_null(table->buckets[i]);
}

static void want_all_damned(struct waiting reads[DAMNED_COUNT]) {
        atomic_store(&are_damned, true);
        for (unsigned i = 0; i < DAMNED_COUNT; i++)
                atomic_store(&damned_attempts[DAMNED + i], 0);
        for (unsigned i = 0; i < DAMNED_COUNT; i++)
                want(&reads[i], (uint8_t) (DAMNED + i));
}

static bool table_is_empty(void) {
        bool is_empty = true;
        pthread_mutex_lock(&table->lock);
        for (unsigned i = 0; i < SNAP_TABLE_BUCKETS; i++)
                is_empty = is_empty && !table->buckets[i];
        pthread_mutex_unlock(&table->lock);
        return is_empty;
}

/* If those that fail paused on the threads that open, 16 of them a tenth of a second each time, nobody who comes after
 * them would get one before all have waited too long. */
static void devices_that_fail_keep_nobody_else(void **state) {
        (void) state;
        static struct waiting reads[DAMNED_COUNT];
        table->deadline_ms = 3000;
        want_all_damned(reads);
        for (uint8_t number = 2; number < DAMNED; number++)
                assert_ok(use(number));
        for (unsigned i = 0; i < DAMNED_COUNT; i++)
                assert_false(reads[i].is_told);
        for (unsigned i = 0; i < DAMNED_COUNT; i++) {
                await(reads[i].is_told);
                assert_int_equal(reads[i].result, -EIO);
                assert_non_null(strstr(reads[i].message, "the test says so"));
                assert_true(atomic_load(&damned_attempts[DAMNED + i]) > 1);
        }
}

static void devices_that_fail_and_nobody_waits_for_leave_nothing(void **state) {
        (void) state;
        static struct waiting reads[DAMNED_COUNT];
        want_all_damned(reads);
        for (unsigned i = 0; i < DAMNED_COUNT; i++)
                await(reads[i].is_told);
        await(table_is_empty());
}

static void who_waits_for_what_fails_is_told_when_all_ends(void **state) {
        static struct waiting reads[DAMNED_COUNT];
        want_all_damned(reads);
        teardown_table(state);
        for (unsigned i = 0; i < DAMNED_COUNT; i++) {
                assert_true(reads[i].is_told);
                assert_int_equal(reads[i].result, -EBUSY);
        }
        assert_int_equal(setup_table(state), 0);
}

/* Of devices 1 and 2. */
static int find_ranges(void *context, const struct zp_digest *image, snap_data_range range, void *argument,
                       struct zp_error *error) {
        (void) context, (void) image, (void) error;
        for (uint8_t i = 0; i < 6; i++) {
                const struct zp_digest device = { .bytes = { [7] = i == 3 ? 2 : 1 } };
                range(argument, &device, i * UINT64_C(8192), 4096);
        }
        return 0;
}

static void a_prefetch_waits_for_no_device_and_keeps_its_order(void **state) {
        (void) state;
        char hex[65] = { 0 };
        memset(hex, 'a', 64);
        options.lookups.find_ranges = find_ranges;
        hold(true);
        snap_data_start(&data, hex); /* else it would never return: nobody opens number 1 */
        await(atomic_load(&prefetched_count) == 1);
        hold(false);
        await(atomic_load(&prefetched_count) == 6);
        const uint64_t order[] = { 3, 0, 1, 2, 4, 5 };
        for (unsigned i = 0; i < 6; i++)
                assert_int_equal(prefetched[i], order[i] * 8192);
}

static void a_prefetch_of_what_does_not_open_leaves_nothing(void **state) {
        (void) state;
        char hex[65] = { 0 };
        memset(hex, 'a', 64);
        options.lookups.find_ranges = find_ranges;
        atomic_store(&failure, EBUSY);
        atomic_store(&failures, 1000000);
        snap_data_start(&data, hex);
        await(table_is_empty());
        assert_int_equal(prefetched_count, 0);
}

static int list_first(void *context, struct zp_digest **out, size_t *count, struct zp_error *error) {
        (void) context, (void) error;
        *out = calloc(1, sizeof **out);
        assert_non_null(*out);
        (*out)->bytes[7] = 1;
        *count = 1;
        return 0;
}

/* Else it would wait as long as a read may. */
static void completion_ends_though_a_device_hangs_as_it_is_opened(void **state) {
        (void) state;
        struct snap_completer *completer = NULL;
        options.lookups.list_wanted = list_first;
        hold(true);
        assert_ok(snap_completer_new(&data, &completer, &err));
        await(atomic_load(&opened) == 1);
        uint64_t began_ms = zp_monotonic_ms();
        snap_completer_free(completer);
        assert_true(zp_monotonic_ms() - began_ms < 600000);
        hold(false);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_device_that_is_opened_while_another_is_closed_is_closed_as_well,
                                                setup_table, teardown_table),
                cmocka_unit_test_setup_teardown(a_device_that_hangs_as_it_is_opened_keeps_nobody_else, setup_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(a_device_that_hangs_as_it_is_closed_keeps_nobody_else, setup_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(what_fails_for_a_while_is_tried_again, setup_table, teardown_table),
                cmocka_unit_test_setup_teardown(who_has_waited_as_long_as_a_read_may_is_told, setup_short_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(what_is_not_there_is_told_at_once_and_leaves_nothing, setup_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(devices_that_fail_keep_nobody_else, setup_short_table, teardown_table),
                cmocka_unit_test_setup_teardown(devices_that_fail_and_nobody_waits_for_leave_nothing, setup_short_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(who_waits_for_what_fails_is_told_when_all_ends, setup_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(a_prefetch_waits_for_no_device_and_keeps_its_order, setup_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(a_prefetch_of_what_does_not_open_leaves_nothing, setup_short_table,
                                                teardown_table),
                cmocka_unit_test_setup_teardown(completion_ends_though_a_device_hangs_as_it_is_opened, setup_long_table,
                                                teardown_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
