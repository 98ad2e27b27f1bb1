/* SPDX-License-Identifier: Apache-2.0
 *
 * What the settings name, looked at by children: one that dies, and one whose file system hangs.
 */
#include "support.h"

#include <errno.h>
#include <sys/stat.h>

#include "snapshotter/named.h"

static bool child_dies;

/* What each child does before it looks. */
int __wrap_close_range(unsigned first, unsigned last, int flags);
int __real_close_range(unsigned first, unsigned last, int flags);
int __wrap_close_range(unsigned first, unsigned last, int flags) {
        if (child_dies)
                _exit(1);
        return __real_close_range(first, last, flags);
}

struct answer {
        char problem[ZP_ERROR_MESSAGE_MAX];
};

static void told(void *context, const char *setting, const char *path, const char *problem, const char *remedy) {
        struct answer *answer = context;
        (void) path;
        if (strcmp(setting, "ca_file") != 0)
                return;
        assert_non_null(remedy);
        snprintf(answer->problem, sizeof answer->problem, "%s", problem ? problem : "");
}

static struct answer look(void) {
        char file[] = "ca.pem";
        struct snap_config config = { .ca_file = file };
        struct answer answer = { "not told" };
        snap_named_look(&config, told, &answer);
        return answer;
}

static void what_can_be_read_is_no_problem(void **state) {
        (void) state;
        child_dies = false;
        write_text("ca.pem", "x");
        assert_string_equal(look().problem, "");
}

static void a_look_that_dies_is_not_told_as_a_file_system_that_hangs(void **state) {
        (void) state;
        child_dies = true;
        write_text("ca.pem", "x");
        assert_string_equal(look().problem, "'ca.pem': it could not be looked at");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_can_be_read_is_no_problem, setup, teardown),
                cmocka_unit_test_setup_teardown(a_look_that_dies_is_not_told_as_a_file_system_that_hangs, setup,
                                                teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
