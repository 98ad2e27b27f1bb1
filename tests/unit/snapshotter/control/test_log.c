/* SPDX-License-Identifier: Apache-2.0
 *
 * The log: one line an event, whatever is in it.
 */
#include "support.h"

#include <fcntl.h>

#include "snapshotter/control/log.h"

/* What is logged between begin and end. */
static int saved;

static void begin_log(void) {
        fflush(stderr);
        saved = dup(STDERR_FILENO);
        int fd = open("log", O_RDWR | O_CREAT | O_TRUNC, 0600);
        assert_true(saved >= 0 && fd >= 0 && dup2(fd, STDERR_FILENO) >= 0);
        close(fd);
}

static char *end_log(void) {
        char *text;
        size_t size;
        dup2(saved, STDERR_FILENO);
        close(saved);
        assert_ok(zp_read_file(-100, "log", 65536, &text, &size, &err));
        return text;
}

static void values_are_quoted_where_they_must_be(void **state) {
        (void) state;
        begin_log();
        snap_log_event(SNAP_LOG_INFO, "two words", "key", "a/b:c", "left_out", NULL, "odd", "x\"y\\z\n=\x01", "empty",
                       "", NULL);
        char *text = end_log();
        assert_int_equal(strncmp(text, "time=20", 7), 0);
        assert_non_null(
                strstr(text, "Z level=info msg=\"two words\" key=a/b:c odd=\"x\\\"y\\\\z\\n=\\x01\" empty=\"\"\n"));
        assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
        free(text);
}

static void the_process_that_speaks_is_named(void **state) {
        (void) state;
        snap_log_set_part("control");
        begin_log();
        snap_log_event(SNAP_LOG_WARN, "x", NULL);
        char *text = end_log();
        snap_log_set_part(NULL);
        assert_non_null(strstr(text, "Z level=warn part=control msg=x\n"));
        free(text);
}

static void what_is_below_the_level_is_left_out(void **state) {
        (void) state;
        enum snap_log_level level;
        assert_true(snap_log_parse_level("warn", &level));
        assert_false(snap_log_parse_level("warning", &level));
        snap_log_set_level(level);
        begin_log();
        snap_log_event(SNAP_LOG_INFO, "no", NULL);
        snap_log_event(SNAP_LOG_ERROR, "yes", NULL);
        char *text = end_log();
        snap_log_set_level(SNAP_LOG_INFO);
        assert_null(strstr(text, "msg=no"));
        assert_non_null(strstr(text, "level=error msg=yes\n"));
        free(text);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(values_are_quoted_where_they_must_be, setup, teardown),
                cmocka_unit_test_setup_teardown(the_process_that_speaks_is_named, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_below_the_level_is_left_out, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
