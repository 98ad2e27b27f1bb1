/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of devices, with devices that a test plays: what is open is closed in time, whatever comes in between.
 */
#include "../control/support.h"

#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#include "snapshotter/data/data-internal.h"

static struct snap_table *table;
static atomic_uint opened, closed;
static void (*on_close)(void);

/* ---- the devices ---- */

int __wrap_snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct zp_device **out,
                            struct zp_error *error);
void __wrap_zp_device_close(struct zp_device *device);
bool __wrap_zp_device_is_idle(const struct zp_device *device);
uint64_t __wrap_zp_device_size(const struct zp_device *device);

int __wrap_snap_device_open(struct snap_data *data, const struct zp_digest *digest, struct zp_device **out,
                            struct zp_error *error) {
        (void) data;
        (void) digest;
        (void) error;
        atomic_fetch_add(&opened, 1);
        *out = (struct zp_device *) &opened;
        return 0;
}

void __wrap_zp_device_close(struct zp_device *device) {
        void (*do_first)(void) = on_close;
        if (!device)
                return;
        on_close = NULL;
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

static int setup_table(void **state) {
        static const struct snap_data_options options = { .idle_ms = 1 };
        static struct snap_data data = { .options = &options };
        atomic_store(&opened, 0);
        atomic_store(&closed, 0);
        return setup(state) < 0 ? -1 : snap_table_new(&data, &table, &err);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_device_that_is_opened_while_another_is_closed_is_closed_as_well,
                                                setup_table, teardown_table),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
