/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: docker-cli's config.json, containers-auth.json(5), docker-credential-helpers.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "oci/auth-file.h"

/* "user:password" in base64 */
#define AUTH(text) "{\"auth\":\"" text "\"}"
#define ALICE_A "YWxpY2U6YQ==" /* alice:a */
#define ALICE_B "YWxpY2U6Yjpi" /* alice:b:b */
#define BOB_NUL "Ym9iOnAAAAA=" /* bob:p and NULs */

static int find(const char *body, const char *registry, const char *repository, char *out) {
        struct zp_credentials found;
        struct zp_error err = { 0 };
        int r = zp_auth_file_parse(body, strlen(body), "config.json", registry, repository, NULL, &found, &err);
        if (r == 0)
                snprintf(out, 200, "%s|%s|%s", found.username ? found.username : "",
                         found.password ? found.password : "", found.identity_token ? found.identity_token : "");
        else
                snprintf(out, 200, "%.190s", err.message);
        zp_credentials_clear(&found);
        return r;
}

static void expect(const char *body, const char *registry, const char *repository, const char *expected) {
        char out[200];
        if (find(body, registry, repository, out) != 0)
                fail_msg("%s: %s", body, out);
        assert_string_equal(out, expected);
}

static void entries_are_found_by_host(void **state) {
        static const char body[] = "{\"auths\":{\"r.example:5000\":" AUTH(ALICE_A) ",\"https://old.example/v1/\":" AUTH(
                ALICE_B) ",\"nul.example\":" AUTH(BOB_NUL) ",\"empty.example\":{}}}";
        (void) state;
        expect(body, "r.example:5000", "a/b", "alice|a|");
        expect(body, "r.example", "a/b", "||");
        expect(body, "r.example:5001", "a/b", "||");
        expect(body, "old.example", "a", "alice|b:b|");
        expect(body, "nul.example", "a", "bob|p|");
        expect(body, "empty.example", "a", "||");
        expect("{}", "r.example", "a", "||");
}

static void docker_hub_has_its_own_key(void **state) {
        (void) state;
        expect("{\"auths\":{\"https://index.docker.io/v1/\":" AUTH(ALICE_A) "}}", "docker.io", "library/a", "alice|a|");
        expect("{\"auths\":{\"docker.io\":" AUTH(ALICE_A) "}}", "docker.io", "library/a", "alice|a|");
        expect("{\"auths\":{\"https://index.docker.io/v1/\":" AUTH(ALICE_A) "}}", "other.io", "library/a", "||");
}

static void the_longest_path_wins(void **state) {
        static const char body[] = "{\"auths\":{\"r\":" AUTH(ALICE_A) ",\"r/team/app\":" AUTH(ALICE_B) "}}";
        (void) state;
        expect(body, "r", "team/app", "alice|b:b|");
        expect(body, "r", "team/app/x", "alice|b:b|");
        expect(body, "r", "team/apple", "alice|a|");
}

static void identity_tokens_come_before_passwords(void **state) {
        (void) state;
        expect("{\"auths\":{\"r\":{\"auth\":\"" ALICE_A "\",\"identitytoken\":\"tok\"}}}", "r", "a", "||tok");
        expect("{\"auths\":{\"r\":{\"username\":\"u\",\"password\":\"p\"}}}", "r", "a", "u|p|");
}

static void malformed_files_are_refused_without_telling_secrets(void **state) {
        static const char *const cases[] = {
                "",
                "[]",
                "{\"auths\":[]}",
                "{\"auths\":{\"r\":7}}",
                "{\"auths\":{\"r\":{\"auth\":7}}}",
                "{\"auths\":{\"r\":{\"auth\":\"c2VjcmV0\"}}}", /* "secret", no colon */
                "{\"auths\":{\"r\":{\"auth\":\"c2Vjcm\"}}}",
                "{\"auths\":{\"r\":{\"auth\":\"!!!!\"}}}",
                "{\"auths\":{\"r\":{\"password\" \"secret\"}}}",
                "{\"credHelpers\":{\"r\":7}}",
                "{\"credsStore\":7}",
                "{\"credsStore\":\"../evil\"}",
                "{\"credsStore\":\"a b\"}",
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                char out[200];
                if (find(cases[i], "r", "a", out) >= 0)
                        fail_msg("%s was accepted", cases[i]);
                assert_null(strstr(out, "secret"));
        }
}

/* Puts a helper program of that script into the PATH. */
struct helper {
        char directory[64];
        char *path;
};

static void install(struct helper *helper, const char *name, const char *script) {
        strcpy(helper->directory, "/tmp/zp-helper-XXXXXX");
        assert_non_null(mkdtemp(helper->directory));
        helper->path = strdup(getenv("PATH"));
        char *file = zp_format("%s/docker-credential-%s", helper->directory, name);
        char *path = zp_format("%s:%s", helper->directory, helper->path);
        int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
        assert_int_equal(zp_write_all(fd, script, strlen(script), file, NULL), 0);
        close(fd);
        setenv("PATH", path, 1);
        free(file);
        free(path);
}

static void uninstall(struct helper *helper) {
        setenv("PATH", helper->path, 1);
        free(helper->path);
        zp_remove_tree(AT_FDCWD, helper->directory, NULL);
}

static void helpers_get_the_host_on_standard_input(void **state) {
        struct helper helper;
        (void) state;
        install(&helper, "test",
                "#!/bin/sh\n[ \"$1\" = get ] || exit 1\nread -r host || [ \"$host\" ]\n"
                "echo \"{\\\"ServerURL\\\":\\\"$host\\\",\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"$host\\\"}\"\n");
        expect("{\"credHelpers\":{\"r:1\":\"test\"}}", "r:1", "a", "u|r:1|");
        expect("{\"credHelpers\":{\"r:1\":\"test\"}}", "r:2", "a", "||");
        expect("{\"credsStore\":\"test\"}", "docker.io", "library/a", "u|https://index.docker.io/v1/|");
        expect("{\"credsStore\":\"nowhere\",\"credHelpers\":{\"r:1\":\"test\"}}", "r:1", "a", "u|r:1|");
        uninstall(&helper);
}

static void a_helper_may_give_an_identity_token(void **state) {
        struct helper helper;
        (void) state;
        install(&helper, "test", "#!/bin/sh\necho '{\"Username\":\"<token>\",\"Secret\":\"tok\"}'\n");
        expect("{\"credsStore\":\"test\"}", "r", "a", "||tok");
        uninstall(&helper);
}

static void a_helper_that_knows_nothing_leaves_it_to_the_file(void **state) {
        struct helper helper;
        (void) state;
        install(&helper, "test", "#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n");
        expect("{\"credsStore\":\"test\"}", "r", "a", "||");
        expect("{\"credsStore\":\"test\",\"auths\":{\"r\":" AUTH(ALICE_A) "}}", "r", "a", "alice|a|");
        uninstall(&helper);
}

static void a_helper_without_a_user_leaves_it_to_the_file(void **state) {
        struct helper helper;
        (void) state;
        install(&helper, "test", "#!/bin/sh\necho '{\"Username\":\"\",\"Secret\":\"\"}'\n");
        expect("{\"credsStore\":\"test\"}", "r", "a", "||");
        expect("{\"credsStore\":\"test\",\"auths\":{\"r\":" AUTH(ALICE_A) "}}", "r", "a", "alice|a|");
        uninstall(&helper);
}

static void a_failing_helper_is_an_error(void **state) {
        static const struct {
                const char *script;
                int expected;
        } cases[] = {
                { "#!/bin/sh\necho 'keychain is locked'\nexit 3\n", -EACCES },
                { "#!/bin/sh\nkill -9 $$\n", -EACCES },
                { "#!/bin/sh\necho '{}'\n", -EBADMSG },
                { "#!/bin/sh\nexec cat /dev/zero\n", -EFBIG },
        };
        char out[200];
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct helper helper;
                install(&helper, "test", cases[i].script);
                assert_int_equal(find("{\"credsStore\":\"test\"}", "r", "a", out), cases[i].expected);
                uninstall(&helper);
        }
        assert_int_equal(find("{\"credsStore\":\"is-not-installed\"}", "r", "a", out), -ENOENT);
        assert_non_null(strstr(out, "docker-credential-is-not-installed"));
}

static void a_helper_is_killed_when_the_work_is_cancelled(void **state) {
        struct helper helper;
        struct zp_cancel cancel = { .requested = true };
        struct zp_credentials found;
        static const char body[] = "{\"credsStore\":\"test\"}";
        (void) state;
        install(&helper, "test", "#!/bin/sh\nexec sleep 1000\n");
        assert_int_equal(zp_auth_file_parse(body, strlen(body), "c", "r", "a", &cancel, &found, NULL), -ECANCELED);
        uninstall(&helper);
}

static void the_usual_places_are_searched_in_order(void **state) {
        char home[] = "/tmp/zp-home-XXXXXX";
        struct zp_credentials found;
        struct zp_error err = { 0 };
        (void) state;
        assert_non_null(mkdtemp(home));
        char *docker = zp_format("%s/.docker", home), *file = zp_format("%s/config.json", docker);
        char *containers = zp_format("%s/.config/containers", home), *auth = zp_format("%s/auth.json", containers);
        static const char one[] = "{\"auths\":{\"r\":" AUTH(ALICE_A) "}}",
                          two[] = "{\"auths\":{\"r\":" AUTH(ALICE_B) "}}";
        unsetenv("DOCKER_CONFIG");
        unsetenv("XDG_RUNTIME_DIR");
        unsetenv("XDG_CONFIG_HOME");
        unsetenv("REGISTRY_AUTH_FILE");
        setenv("HOME", home, 1);
        assert_int_equal(zp_auth_file_find(NULL, "r", "a", NULL, &found, NULL), 0);
        assert_null(found.username);
        assert_int_equal(zp_make_directories(containers, 0700, NULL), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, auth, two, strlen(two), 0600, NULL), 0);
        assert_int_equal(zp_auth_file_find(NULL, "r", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.password, "b:b");
        zp_credentials_clear(&found);
        assert_int_equal(zp_make_directories(docker, 0700, NULL), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, file, one, strlen(one), 0600, NULL), 0);
        assert_int_equal(zp_auth_file_find(NULL, "r", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.password, "a");
        zp_credentials_clear(&found);
        assert_int_equal(zp_auth_file_find("/nonexistent/config.json", "r", "a", NULL, &found, &err), -EIO);
        assert_non_null(strstr(err.message, "/nonexistent/config.json"));
        zp_remove_tree(AT_FDCWD, home, NULL);
        free(docker);
        free(file);
        free(containers);
        free(auth);
}

static void a_file_of_the_name_dockercfg_is_of_the_older_form(void **state) {
        char home[] = "/tmp/zp-old-XXXXXX";
        struct zp_credentials found;
        static const char body[] = "{\"https://r.example/v1/\":" AUTH(ALICE_A) "}";
        (void) state;
        assert_non_null(mkdtemp(home));
        char *old = zp_format("%s/.dockercfg", home), *other = zp_format("%s/x.dockercfg", home);
        assert_int_equal(zp_replace_file(AT_FDCWD, old, body, strlen(body), 0600, NULL), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, other, body, strlen(body), 0600, NULL), 0);
        assert_int_equal(zp_auth_file_find(old, "r.example", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.username, "alice");
        zp_credentials_clear(&found);
        assert_int_equal(zp_auth_file_find(old, "other.example", "a", NULL, &found, NULL), 0);
        assert_true(zp_credentials_are_empty(&found));
        assert_int_equal(zp_auth_file_find(other, "r.example", "a", NULL, &found, NULL), 0);
        assert_true(zp_credentials_are_empty(&found));
        assert_int_equal(zp_replace_file(AT_FDCWD, old, "[]", 2, 0600, NULL), 0);
        assert_int_equal(zp_auth_file_find(old, "r.example", "a", NULL, &found, NULL), -EIO);
        zp_remove_tree(AT_FDCWD, home, NULL);
        free(old);
        free(other);
}

static void of_several_files_the_first_that_knows_the_registry_counts(void **state) {
        char home[] = "/tmp/zp-files-XXXXXX";
        struct zp_credentials found;
        (void) state;
        assert_non_null(mkdtemp(home));
        char *first = zp_format("%s/1", home), *second = zp_format("%s/2", home);
        char *both = zp_format("%s:%s", first, second), *absent = zp_format("%s/3:%s", home, second);
        char *none = zp_format("%s/3:", home);
        static const char one[] = "{\"auths\":{\"q\":" AUTH(ALICE_A) "}}",
                          two[] = "{\"auths\":{\"q\":" AUTH(ALICE_B) ",\"r\":" AUTH(ALICE_B) "}}";
        assert_int_equal(zp_replace_file(AT_FDCWD, first, one, strlen(one), 0600, NULL), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, second, two, strlen(two), 0600, NULL), 0);
        assert_int_equal(zp_auth_file_find(both, "q", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.password, "a");
        zp_credentials_clear(&found);
        assert_int_equal(zp_auth_file_find(both, "r", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.password, "b:b");
        zp_credentials_clear(&found);
        assert_int_equal(zp_auth_file_find(both, "s", "a", NULL, &found, NULL), 0);
        assert_true(zp_credentials_are_empty(&found));
        /* of a list, what is not there knows nothing */
        assert_int_equal(zp_auth_file_find(absent, "r", "a", NULL, &found, NULL), 0);
        assert_string_equal(found.password, "b:b");
        zp_credentials_clear(&found);
        assert_int_equal(zp_auth_file_find(none, "r", "a", NULL, &found, NULL), 0);
        assert_true(zp_credentials_are_empty(&found));
        none[strlen(none) - 1] = '\0'; /* a single one must be there */
        assert_int_equal(zp_auth_file_find(none, "r", "a", NULL, &found, NULL), -EIO);
        zp_remove_tree(AT_FDCWD, home, NULL);
        free(first);
        free(second);
        free(both);
        free(absent);
        free(none);
}

static void a_file_is_checked_as_a_whole_without_telling_secrets(void **state) {
        (void) state;
        static const struct {
                const char *text, *message; /* NULL: it can be used */
        } cases[] = {
                { "{\"auths\":{\"r.example\":" AUTH(ALICE_A) ",\"empty.example\":{}}}", NULL },
                { "{\"auths\":{},\"credHelpers\":{\"r.example\":\"x\"}}", NULL },
                { "{\"auths\":{\"a.example\":{},\"r.example\":" AUTH("!!!") "}}", "'r.example': 'auth' is not base64" },
                { "{\"auths\":{\"r.example\":" AUTH("c2VjcmV0") "}}",
                  "'r.example': 'auth' is not of the form user:password" },
                { "{\"auths\":{\"r.example\":{\"identitytoken\":5}}}", "'r.example'" },
                { "{\"auths\":{\"r.example\":\"secret\"}}", "'r.example': is not an object" },
                { "{\"auths\":[],\"credsStore\":\"x\"}", "'auths'" },
                { "{\"credHelpers\":{\"r.example\":5}}", "'r.example' is not a string" },
        };
        char path[] = "/tmp/zp-auth-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_error err = { 0 };
                size_t size = strlen(cases[i].text);
                assert_int_equal(ftruncate(fd, 0), 0);
                assert_int_equal(pwrite(fd, cases[i].text, size, 0), (ssize_t) size);
                int r = zp_auth_file_check(path, &err);
                if ((r == 0) != !cases[i].message || (r < 0 && !strstr(err.message, cases[i].message)) ||
                    strstr(err.message, "secret") || strstr(err.message, "!!!"))
                        fail_msg("case %zu: %d '%s'", i, r, err.message);
        }
        close(fd);
        unlink(path);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(entries_are_found_by_host),
                cmocka_unit_test(docker_hub_has_its_own_key),
                cmocka_unit_test(the_longest_path_wins),
                cmocka_unit_test(identity_tokens_come_before_passwords),
                cmocka_unit_test(malformed_files_are_refused_without_telling_secrets),
                cmocka_unit_test(a_file_is_checked_as_a_whole_without_telling_secrets),
                cmocka_unit_test(helpers_get_the_host_on_standard_input),
                cmocka_unit_test(a_helper_may_give_an_identity_token),
                cmocka_unit_test(a_helper_that_knows_nothing_leaves_it_to_the_file),
                cmocka_unit_test(a_helper_without_a_user_leaves_it_to_the_file),
                cmocka_unit_test(a_failing_helper_is_an_error),
                cmocka_unit_test(a_helper_is_killed_when_the_work_is_cancelled),
                cmocka_unit_test(the_usual_places_are_searched_in_order),
                cmocka_unit_test(a_file_of_the_name_dockercfg_is_of_the_older_form),
                cmocka_unit_test(of_several_files_the_first_that_knows_the_registry_counts),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
