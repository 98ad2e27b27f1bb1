/* SPDX-License-Identifier: Apache-2.0
 *
 * Disks of images: found by name and by number, and not kept for ever.
 */
#include "../control/support.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "snapshotter/data/data-internal.h"

static struct snap_disks *disks;
static unsigned found; /* so many times the store was asked */
static int last_fd;

/* A disk of as many blocks of metadata as the image's first byte says. */
static int find_disk(void *context, const struct zp_digest *image, bool is_compat, struct snap_disk_parts *out,
                     struct zp_error *error) {
        (void) context;
        (void) is_compat;
        (void) error;
        found++;
        out->metadata_fd = last_fd = memfd_create("metadata", MFD_CLOEXEC);
        out->metadata_size = image->bytes[0] * 4096;
        return 0;
}

static int setup_disks(void **state) {
        static struct snap_data_options options = { .lookups = { .find_disk = find_disk }, .disk_idle_ms = 100 };
        static struct snap_data data = { .options = &options };
        found = 0;
        if (setup(state) < 0)
                return -1;
        options.store = directory;
        return snap_disks_new(&data, &disks, &err);
}

static int teardown_disks(void **state) {
        snap_disks_free(disks);
        return teardown(state);
}

static uint64_t look_up(uint8_t number) {
        struct zp_digest image = { .bytes = { [0] = number, [15] = number } };
        char hex[ZP_SHA256_HEX_SIZE], name[ZP_SHA256_HEX_SIZE + 16];
        uint64_t id, size;
        snprintf(name, sizeof name, SNAP_DATA_DISK_PREFIX "%s", zp_digest_hex(&image, hex));
        assert_ok(snap_disks_lookup(disks, name, &id, &size, &err));
        assert_int_equal(size, number * 4096);
        return id;
}

static void let_them_grow_old(void) {
        uint64_t until = zp_monotonic_ms() + 120;
        while (zp_monotonic_ms() < until)
                continue;
}

static void a_disk_that_nobody_uses_makes_room_for_others(void **state) {
        (void) state;
        uint64_t first = look_up(1);
        int first_fd = last_fd;
        assert_int_equal(look_up(1), first);
        assert_int_equal(found, 1);
        struct snap_disk *used = snap_disks_find(disks, look_up(2));
        int used_fd = last_fd;
        let_them_grow_old();
        look_up(3);
        assert_int_equal(fcntl(first_fd, F_GETFD), -1);
        assert_true(fcntl(used_fd, F_GETFD) >= 0);
        assert_int_equal(snap_disk_size(used), 2 * 4096);
        snap_disks_let_go(disks, used);
}

static void a_disk_that_made_room_is_found_by_its_number(void **state) {
        (void) state;
        struct zp_digest image = { .bytes = { [0] = 1, [15] = 1 } };
        char hex[ZP_SHA256_HEX_SIZE], name[ZP_SHA256_HEX_SIZE + 8];
        snprintf(name, sizeof name, "images/%s", zp_digest_hex(&image, hex));
        assert_int_equal(mkdir("images", 0700) | mkdir(name, 0700), 0);
        uint64_t id = look_up(1);
        let_them_grow_old();
        look_up(2);
        struct snap_disk *disk = snap_disks_find(disks, id);
        assert_non_null(disk);
        assert_int_equal(snap_disk_size(disk), 4096);
        assert_int_equal(found, 3);
        snap_disks_let_go(disks, disk);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(a_disk_that_nobody_uses_makes_room_for_others, setup_disks,
                                                teardown_disks),
                cmocka_unit_test_setup_teardown(a_disk_that_made_room_is_found_by_its_number, setup_disks,
                                                teardown_disks),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
