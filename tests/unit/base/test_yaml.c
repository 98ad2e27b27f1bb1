/* SPDX-License-Identifier: Apache-2.0
 *
 * YAML configuration: the values asked for arrive, and everything else is an error that names file and line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/yaml.h"

static struct zp_error err;
static const char *name;
static size_t limit;

static int read_settings(struct zp_yaml *yaml, const yaml_node_t *root) {
        enum { NAME, LIMIT, COUNT };
        static const char *const names[] = { "name", "limit" };
        yaml_node_t *values[COUNT];
        static char copy[64];
        int r = zp_yaml_members(yaml, root, "settings", names, COUNT, values);
        if (r == 0 && values[NAME])
                r = zp_yaml_text(yaml, values[NAME], "name", &name);
        if (r == 0 && values[LIMIT])
                r = zp_yaml_number(yaml, values[LIMIT], "limit", &limit);
        if (r == 0 && name)
                name = strncpy(copy, name, sizeof copy - 1);
        return r;
}

static int read_text(const char *text) {
        struct zp_yaml yaml = { .path = "test.yaml", .what = "configuration", .err = &err };
        zp_error_clear(&err);
        name = NULL;
        limit = 0;
        return zp_yaml_read(text, strlen(text), &yaml, read_settings);
}

static void assert_refused(const char *text, const char *message) {
        assert_int_equal(read_text(text), -EINVAL);
        if (!strstr(err.message, message))
                fail_msg("'%s' is not in: %s", message, err.message);
}

static void members_arrive(void **state) {
        (void) state;
        assert_int_equal(read_text("# a comment\nname: web\nlimit: 12\n"), 0);
        assert_string_equal(name, "web");
        assert_int_equal(limit, 12);
        assert_int_equal(read_text("limit: 1\n"), 0);
        assert_null(name);
}

static void what_is_not_understood_is_refused_with_its_line(void **state) {
        (void) state;
        assert_refused("name: a\ncolour: red\n", "test.yaml:2: settings: 'colour' is not known");
        assert_refused("name: a\nname: b\n", "test.yaml:2: settings: 'name' a second time");
        assert_refused("name: [a]\n", "test.yaml:1: name: not a single value");
        assert_refused("name: \"a\\0b\"\n", "test.yaml:1: name: empty, or with a NUL in it");
        assert_refused("\nlimit: many\n", "test.yaml:2: limit: 'many' is not a number");
        assert_refused("limit: 0\n", "is not a number from 1 to 999999");
        assert_refused("limit: 1234567\n", "is not a number");
        assert_refused("- a\n", "test.yaml:1: settings: not a mapping");
}

static void what_is_not_one_document_is_refused(void **state) {
        (void) state;
        assert_refused("", "test.yaml:1: the configuration is empty");
        assert_refused("# nothing\n", "the configuration is empty");
        assert_refused("name: a\n---\nname: b\n", "a second document");
        assert_refused("name: *b\n", "test.yaml:1");
        assert_refused("name: 'a\n", "test.yaml:");
        assert_refused("a: 1\nb: \xff\n", "test.yaml:2");
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test(members_arrive),
                cmocka_unit_test(what_is_not_understood_is_refused_with_its_line),
                cmocka_unit_test(what_is_not_one_document_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
