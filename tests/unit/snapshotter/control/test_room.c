/* SPDX-License-Identifier: Apache-2.0
 *
 * Room on a full disk: whose copies go for it, and when the reserve does.
 */
#include "support.h"

#include <sys/stat.h>

#include "snapshotter/control/room.h"
#include "store/store.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static char elsewhere[64];

static struct snap_room *open_room(const char *store) {
        struct snap_room *room;
        struct zp_store *opened;
        char path[200];
        assert_ok(mkdir("root", 0700));
        assert_ok(zp_store_open(store, ZP_STORE_CREATE, &opened, &err)); /* it knows what is in use */
        zp_store_close(opened);
        snprintf(path, sizeof path, "%s/unpacked", store);
        assert_ok(zp_make_directories(path, 0700, &err));
        strcat(path, "/" HEX ".raw");
        write_text(path, "a copy");
        assert_ok(snap_room_new("root", store, &room, &err));
        snap_room_restore(room);
        assert_int_equal(access("root/reserve", F_OK), 0);
        return room;
}

static bool has(const char *directory_path, const char *name) {
        char path[200];
        snprintf(path, sizeof path, "%s/%s", directory_path, name);
        return access(path, F_OK) == 0;
}

static void other_failures_take_nothing(void **state) {
        (void) state;
        zp_auto(snap_room_free) struct snap_room *room = open_room("store");
        assert_false(snap_room_make(room, -EIO, true));
        assert_false(snap_room_make_for_store(room, 0));
        assert_true(has("store/unpacked", HEX ".raw") && has("root", "reserve"));
}

static void copies_go_before_the_reserve(void **state) {
        (void) state;
        zp_auto(snap_room_free) struct snap_room *room = open_room("store");
        assert_true(snap_room_make(room, -ENOSPC, false));
        assert_false(has("store/unpacked", HEX ".raw"));
        assert_true(has("root", "reserve"));
        assert_true(snap_room_make(room, -EDQUOT, false));
        assert_false(has("root", "reserve"));
        assert_false(snap_room_make(room, -ENOSPC, false));
}

static void last_attempt_has_the_reserve_whatever_the_copies_gave(void **state) {
        (void) state;
        zp_auto(snap_room_free) struct snap_room *room = open_room("store");
        assert_true(snap_room_make(room, -ENOSPC, true));
        assert_false(has("root", "reserve"));
}

static void copies_on_another_disk_stay(void **state) {
        (void) state;
        struct stat here, there;
        strcpy(elsewhere, "/dev/shm/zp-control-XXXXXX");
        if (!mkdtemp(elsewhere)) {
                elsewhere[0] = '\0';
                skip();
        }
        assert_ok(stat(".", &here));
        assert_ok(stat(elsewhere, &there));
        if (here.st_dev == there.st_dev)
                skip();
        zp_auto(snap_room_free) struct snap_room *room = open_room(elsewhere);
        char copies[100];
        snprintf(copies, sizeof copies, "%s/unpacked", elsewhere);
        assert_true(snap_room_make(room, -ENOSPC, false)); /* of the root: the reserve */
        assert_true(has(copies, HEX ".raw"));
        assert_false(has("root", "reserve"));
        snap_room_restore(room);
        assert_true(snap_room_make_for_store(room, -ENOSPC)); /* of the other disk: the copies only */
        assert_false(has(copies, HEX ".raw"));
        assert_false(snap_room_make_for_store(room, -ENOSPC));
        assert_true(has("root", "reserve"));
}

static int teardown_both(void **state) {
        int r = elsewhere[0] ? zp_remove_tree(-1, elsewhere, &err) : 0;
        elsewhere[0] = '\0';
        return teardown(state) < 0 ? -1 : r;
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(other_failures_take_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(copies_go_before_the_reserve, setup, teardown),
                cmocka_unit_test_setup_teardown(last_attempt_has_the_reserve_whatever_the_copies_gave, setup, teardown),
                cmocka_unit_test_setup_teardown(copies_on_another_disk_stay, setup, teardown_both),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
