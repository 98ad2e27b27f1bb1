/* SPDX-License-Identifier: Apache-2.0
 *
 * The configuration file: its settings arrive, and what is not understood is refused with file and line.
 */
#include "support.h"

#include <sys/stat.h>

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
        assert_true(config.accelerate);
        assert_int_equal(config.registry_timeout_s, 10);
        assert_true(config.check_rights);
        assert_null(config.image_service);
        snap_config_clear(&config);
        write_text("config.yaml", "version: 1\naccelerate: false\nstore: /s\npolicy: /p.yaml\nregistry_timeout_s: 3\n"
                                  "auth_file: /a.json\nca_file: /c.pem\nmetrics: '[::1]:9273'\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_false(config.accelerate);
        assert_int_equal(config.registry_timeout_s, 3);
        assert_string_equal(config.store, "/s");
        assert_string_equal(config.policy, "/p.yaml");
        assert_string_equal(config.auth_file, "/a.json");
        assert_string_equal(config.ca_file, "/c.pem");
        assert_string_equal(config.metrics, "[::1]:9273");
        snap_config_clear(&config);
}

static void who_pulls_may_be_learned(void **state) {
        (void) state;
        struct snap_config config;
        snap_config_init(&config);
        write_text("config.yaml",
                   "version: 1\ncheck_rights: false\nimage_service: /run/i.sock\ncontainerd: /run/c.sock\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_false(config.check_rights);
        assert_string_equal(config.image_service, "/run/i.sock");
        assert_string_equal(config.containerd, "/run/c.sock");
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
        assert_refused("version: 1\nmetrics: 9273\n", "config.yaml:2: metrics: listen '9273': not ADDRESS:PORT");
        assert_refused("version: 1\nmetrics: host.invalid:9273\n",
                       "config.yaml:2: metrics: listen 'host.invalid:9273'");
        assert_refused("version: 1\nrot: /x\n", "config.yaml:2: configuration: 'rot' is not known");
}

static void settings_about_data_arrive(void **state) {
        (void) state;
        struct snap_config config;
        snap_config_init(&config);
        write_text("config.yaml",
                   "version: 1\npreloads: [/mnt/a, /mnt/b]\ncache_limit: 50G\nbackground_bandwidth: 20M\n"
                   "complete: started\ncomplete_images:\n- images: registry.example/big/*\n"
                   "  complete: never\n- images: registry.example/web\n  complete: always\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_string_equal(config.data.preloads[0], "/mnt/a");
        assert_string_equal(config.data.preloads[1], "/mnt/b");
        assert_null(config.data.preloads[2]);
        assert_int_equal(config.data.cache_limit, UINT64_C(50) << 30);
        assert_int_equal(config.data.background_bandwidth, 20 << 20);
        assert_int_equal(snap_config_completion(&config.data, "registry.example/big/model"), SNAP_COMPLETE_NEVER);
        assert_int_equal(snap_config_completion(&config.data, "registry.example/web"), SNAP_COMPLETE_ALWAYS);
        assert_int_equal(snap_config_completion(&config.data, "registry.example/web2"), SNAP_COMPLETE_STARTED);
        assert_int_equal(snap_config_completion(&config.data, NULL), SNAP_COMPLETE_STARTED);
        snap_config_clear(&config);
        write_text("config.yaml", "version: 1\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_null(config.data.preloads);
        assert_int_equal(config.data.cache_limit, 0);
        assert_int_equal(snap_config_completion(&config.data, "x"), SNAP_COMPLETE_NEVER);
        snap_config_clear(&config);
}

static void whom_starts_are_reported_to_arrives(void **state) {
        (void) state;
        struct snap_config config;
        snap_config_init(&config);
        write_text("config.yaml", "version: 1\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_null(config.reports.url);
        snap_config_clear(&config);
        write_text("config.yaml", "version: 1\nreport_starts:\n  url: https://hook.example/\n  token_file: /t\n"
                                  "  ca_file: /c\n  seconds: 30\n");
        assert_ok(snap_config_load("config.yaml", &config, &err));
        assert_string_equal(config.reports.url, "https://hook.example");
        assert_string_equal(config.reports.token_file, "/t");
        assert_string_equal(config.reports.ca_file, "/c");
        assert_int_equal(config.reports.seconds, 30);
        snap_config_clear(&config);
        assert_refused("version: 1\nreport_starts: {seconds: 3}\n", "config.yaml:2: report_starts: 'url' is missing");
        assert_refused("version: 1\nreport_starts: {url: hook}\n", "config.yaml:2: url: 'hook' is not 'https://HOST");
        assert_refused("version: 1\nreport_starts: {url: http://h, seconds: 601}\n",
                       "config.yaml:2: report_starts: seconds: not from 1 to 600");
        assert_refused("version: 1\nreport_starts: {url: http://h, token_file: t}\n",
                       "config.yaml:2: token_file: 't' is not an absolute path");
}

static void what_is_wrong_about_data_is_refused_with_its_line(void **state) {
        (void) state;
        assert_refused("version: 1\npreloads: /mnt\n", "config.yaml:2: preloads");
        assert_refused("version: 1\npreloads:\n- /mnt\n- here\n", "config.yaml:4: preloads: 'here' is not an absolute");
        static const char *const sizes[] = { "0", "-1", "x", "1X", "1MB", "20 M", "99999999999T", "1.5G", "+3", "M" };
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
                char text[100];
                snprintf(text, sizeof text, "version: 1\ncache_limit: %s\n", sizes[i]);
                assert_refused(text, "config.yaml:2: cache_limit: '");
                snprintf(text, sizeof text, "version: 1\nbackground_bandwidth: %s\n", sizes[i]);
                assert_refused(text, "config.yaml:2: background_bandwidth: '");
        }
        assert_refused("version: 1\ncomplete: soon\n", "config.yaml:2: complete: 'soon' is none of");
        assert_refused("version: 1\ncomplete_images:\n- images: a\n", "config.yaml:3: complete_images: an entry has");
        assert_refused("version: 1\ncomplete_images:\n- images: a*b\n  complete: never\n",
                       "config.yaml:3: images: 'a*b'");
        assert_refused("version: 1\ncomplete_images:\n- images: a\n  complete: yes\n",
                       "config.yaml:4: complete: 'yes'");
}

static mode_t mode_after_finish(const char *root) {
        struct snap_config config;
        struct stat st;
        snap_config_init(&config);
        config.root = strdup(root);
        assert_ok(snap_config_finish(&config, &err));
        snap_config_clear(&config);
        assert_int_equal(stat(root, &st), 0);
        return st.st_mode & 07777;
}

/* As kubelet makes it, and as somebody made it for something else. */
static void an_empty_root_directory_is_closed_to_others(void **state) {
        (void) state;
        mode_t before = umask(0);
        assert_int_equal(mkdir("root", 0755) | mkdir("shared", 0755) | mkdir("shared/file", 0700), 0);
        assert_int_equal(mode_after_finish("root"), 0700);
        assert_int_equal(mode_after_finish("made/here"), 0700);
        assert_int_equal(mode_after_finish("shared"), 0755);
        umask(before);
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
                cmocka_unit_test_setup_teardown(who_pulls_may_be_learned, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_not_understood_is_refused_with_its_line, setup, teardown),
                cmocka_unit_test_setup_teardown(whom_starts_are_reported_to_arrives, setup, teardown),
                cmocka_unit_test_setup_teardown(settings_about_data_arrive, setup, teardown),
                cmocka_unit_test_setup_teardown(what_is_wrong_about_data_is_refused_with_its_line, setup, teardown),
                cmocka_unit_test_setup_teardown(an_empty_root_directory_is_closed_to_others, setup, teardown),
                cmocka_unit_test_setup_teardown(a_file_that_is_not_there_is_told, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
