/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads of a disk that loses a frame at that very moment: it had it when it was asked, and gives something else.
 */
#include "device-fixture.h"

#include <sys/syscall.h>

#include "device/device-internal.h"

/* The part of a frame that the disk loses when it is read, and what happens just then. */
static struct {
        struct world *world;
        _Atomic(void (*)(struct world *w)) meanwhile; /* once; NULL: the disk works */
} disk;

#define LOST 3u
#define LOST_AT (LOST * FRAME + 100)

ssize_t pread(int fd, void *data, size_t size, off_t offset) {
        void (*meanwhile)(struct world *) = NULL;
        if (offset == LOST_AT && atomic_load(&disk.meanwhile) && fd == disk.world->device->record.fd)
                meanwhile = atomic_exchange(&disk.meanwhile, NULL);
        if (!meanwhile)
                return syscall(SYS_pread64, fd, data, size, offset);
        meanwhile(disk.world);
        memset(data, 0, size);
        return (ssize_t) size;
}

/* As a sync that fails does. */
static void lose_frame(struct world *w) {
        struct zp_record *record = &w->device->record;
        atomic_fetch_and(&record->good[0], ~(UINT64_C(1) << LOST));
        atomic_fetch_and(&record->unsynced[0], ~(UINT64_C(1) << LOST));
        atomic_fetch_add(&record->missing, 1);
}

static void lose_and_announce_frame(struct world *w) {
        lose_frame(w);
        hold_origin(&w->faults[0], true);
        zp_device_prefetch(w->device, LOST * FRAME, 1);
}

/* A read of that frame from the disk and of the next one, which comes and is not kept. */
static struct waiting *begin_losing_read(struct world *w, void (*meanwhile)(struct world *w)) {
        open_world(w, 1);
        assert_int_equal(read_frame(w, LOST), 0);
        assert_true(zp_device_has(w->device, LOST));
        w->device->record.is_broken = true;
        disk.world = w;
        atomic_store(&disk.meanwhile, meanwhile);
        return begin_read(w, LOST_AT, FRAME);
}

static int raised(struct faults *faults) {
        pthread_mutex_lock(&faults->lock);
        int count = faults->raised;
        pthread_mutex_unlock(&faults->lock);
        return count;
}

static void what_the_disk_loses_as_it_is_read_comes_from_the_origin(void **state) {
        struct world *w = *state;
        struct waiting *waiting = begin_losing_read(w, lose_frame);
        assert_int_equal(end_read(w, waiting), 0);
        assert_null(atomic_load(&disk.meanwhile));
        assert_int_equal(asked(&w->faults[0], LOST), 2);
        assert_int_equal(asked(&w->faults[0], LOST + 1), 1);
}

static void what_comes_without_hurry_is_hurried_by_who_has_lost_it(void **state) {
        struct world *w = *state;
        struct waiting *waiting = begin_losing_read(w, lose_and_announce_frame);
        await(raised(&w->faults[0]) == 1);
        assert_int_equal(asked(&w->faults[0], LOST), 2);
        hold_origin(&w->faults[0], false);
        assert_int_equal(end_read(w, waiting), 0);
}

#define test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
        const struct CMUnitTest tests[] = {
                test(what_the_disk_loses_as_it_is_read_comes_from_the_origin),
                test(what_comes_without_hurry_is_hurried_by_who_has_lost_it),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
