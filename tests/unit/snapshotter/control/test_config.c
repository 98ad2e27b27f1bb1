/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file: its settings arrive, and what is not understood is refused with file and line.
 */
#include "support.h"

#include "snapshotter/control/config.h"

static void settings_arrive(void **state) {
        (void) state;
        struct snap_config config;
        snap_config_init(&config);
        write_text("config.yaml",
                   "version: 1\nroot: /var/lib/x\naddress: /run/x.sock\nlog_level: debug\nremap_ids: true\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_string_equal(config.root, "/var/lib/x");
        assert_string_equal(config.address, "/run/x.sock");
        assert_int_equal(config.log_level, SNAP_LOG_DEBUG);
        assert_true(config.remap_ids);
        snap_config_clear(&config);
}

static void assert_refused(const char *text, const char *message) {
        struct snap_config config;
        snap_config_init(&config);
        write_text("config.yaml", text);
        assert_int_equal(snap_config_load("config.yaml", &config, &err), -EINVAL);
        assert_message_has(message);
        snap_config_clear(&config);
}

static void what_is_not_understood_is_refused_with_its_line(void **state) {
        (void) state;
        assert_refused("root: /x\n", "config.yaml:1: configuration: 'version' is missing");
        assert_refused("version: 2\n", "config.yaml:1: version: only 1 is known");
        assert_refused("version: 1\nroot: x\n", "config.yaml:2: root: 'x' is not an absolute path");
        assert_refused("version: 1\nlog_level: loud\n", "config.yaml:2: log_level: 'loud' is none of");
        assert_refused("version: 1\n\nremap_ids: yes\n", "config.yaml:3: remap_ids: 'yes' is neither");
        assert_refused("version: 1\nrot: /x\n", "config.yaml:2: configuration: 'rot' is not known");
}

static void a_file_that_is_not_there_is_told(void **state) {
        (void) state;
        struct snap_config config;
        snap_config_init(&config);
        assert_int_equal(snap_config_load("absent.yaml", &config, &err), -ENOENT);
        assert_message_has("absent.yaml");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(settings_arrive, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_not_understood_is_refused_with_its_line, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_told, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
