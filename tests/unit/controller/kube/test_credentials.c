/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "controller/kube/kube-internal.h"

/* ---- tokens ---- */

static void tokens_lose_the_space_around_them_and_have_none_within(void **state) {
        (void) state;
        char *header = NULL;
        assert_int_equal(zp_kube_bearer(" \n abc.d-e_f==\n", "file", &header, NULL), 0);
        assert_string_equal(header, "Bearer abc.d-e_f==");
        free(header);
        const char *const bad[] = {
                "", " \n", "a b", "secret\r\nX-Evil: 1", "secret\x01", "s\xc3\xa9", "secret\nmore"
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct zp_error err = { 0 };
                assert_int_equal(zp_kube_bearer(bad[i], "file", &header, &err), -EINVAL);
                assert_null(strstr(err.message, "secret"));
        }
}

/* ---- exec plugins ---- */

static const struct zp_kube_exec plugin = { .api_version = "client.authentication.k8s.io/v1", .command = "login" };

static int parse(const char *status, struct zp_kube_material *out, struct zp_error *err) {
        char *text = zp_format(
                "{\"apiVersion\":\"client.authentication.k8s.io/v1\",\"kind\":\"ExecCredential\",\"status\":%s}",
                status);
        *out = (struct zp_kube_material){ 0 };
        int r = zp_kube_exec_parse(&plugin, text, strlen(text), out, err);
        free(text);
        return r;
}

static void plugins_give_tokens_and_certificates(void **state) {
        (void) state;
        struct zp_kube_material material;
        assert_int_equal(parse("{\"token\":\"t\",\"expirationTimestamp\":\"2026-01-02T03:04:05Z\"}", &material, NULL),
                         0);
        assert_string_equal(material.authorization, "Bearer t");
        assert_int_equal(material.expires_s, 1767323045); /* date -u -d 2026-01-02T03:04:05Z +%s */
        zp_kube_material_clear(&material);
        assert_int_equal(parse("{\"clientCertificateData\":\"C\",\"clientKeyData\":\"K\"}", &material, NULL), 0);
        assert_null(material.authorization);
        assert_string_equal(material.certificate, "C");
        assert_string_equal(material.key, "K");
        assert_int_equal(material.expires_s, 0);
        zp_kube_material_clear(&material);
}

static void every_form_of_an_expiry_is_understood(void **state) {
        (void) state;
        static const struct {
                const char *text;
                int64_t seconds; /* by date(1) */
        } times[] = { { "2026-01-02T03:04:05.123456789Z", 1767323045 },
                      { "2026-01-02T05:04:05+02:00", 1767323045 },
                      { "2026-01-01T21:34:05.5-05:30", 1767323045 } };
        for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
                struct zp_kube_material material;
                char *status = zp_format("{\"token\":\"t\",\"expirationTimestamp\":\"%s\"}", times[i].text);
                assert_int_equal(parse(status, &material, NULL), 0);
                assert_int_equal(material.expires_s, times[i].seconds);
                zp_kube_material_clear(&material);
                free(status);
        }
}

static void other_output_is_refused_without_being_shown(void **state) {
        (void) state;
        const char *const bad[] = {
                "{}",
                "null",
                "{\"token\":\"\"}",
                "{\"token\":7}",
                "{\"token\":\"secret\\n\"}x",
                "{\"token\":\"secret secret\"}",
                "{\"clientKeyData\":\"secret\"}",
                "{\"token\":\"secret\",\"expirationTimestamp\":\"soon\"}",
                "{\"token\":\"secret\",\"expirationTimestamp\":\"2026-01-02T03:04:05\"}",
        };
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                struct zp_kube_material material;
                struct zp_error err = { 0 };
                assert_true(parse(bad[i], &material, &err) < 0);
                assert_null(strstr(err.message, "secret"));
                zp_kube_material_clear(&material);
        }
        const char *other =
                "{\"apiVersion\":\"client.authentication.k8s.io/v1beta1\",\"kind\":\"ExecCredential\",\"status\":"
                "{\"token\":\"t\"}}";
        struct zp_kube_material material = { 0 };
        assert_int_equal(zp_kube_exec_parse(&plugin, other, strlen(other), &material, NULL), -EBADMSG);
}

/* ---- files ---- */

struct world {
        char directory[32];
        int fd;
        char *token, *authority;
        struct zp_kube_config config;
};

static int make_world(void **state) {
        struct world *world = calloc(1, sizeof *world);
        strcpy(world->directory, "/tmp/kube-files-XXXXXX");
        assert_non_null(mkdtemp(world->directory));
        world->fd = open(world->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        world->token = zp_format("%s/token", world->directory);
        world->authority = zp_format("%s/ca.crt", world->directory);
        world->config.cluster.server = "https://k.example";
        world->config.cluster.authority.file = world->authority;
        world->config.user.token_file = world->token;
        *state = world;
        return 0;
}

static int end_world(void **state) {
        struct world *world = *state;
        close(world->fd);
        zp_remove_tree(AT_FDCWD, world->directory, NULL);
        free(world->token);
        free(world->authority);
        free(world);
        return 0;
}

static void write_file(const struct world *world, const char *name, const char *text) {
        assert_int_equal(zp_replace_file(world->fd, name, text, strlen(text), 0600, NULL), 0);
}

static void files_are_read_as_they_are_now(void **state) {
        struct world *world = *state;
        struct zp_kube_material first, second;
        write_file(world, "ca.crt", "CA 1");
        write_file(world, "token", "one\n");
        assert_int_equal(zp_kube_material_read(&world->config, NULL, NULL, &first, NULL), 0);
        assert_string_equal(first.authority, "CA 1");
        assert_string_equal(first.authorization, "Bearer one");
        assert_int_equal(zp_kube_material_read(&world->config, &first, NULL, &second, NULL), 0);
        assert_true(zp_kube_material_equal(&first, &second));
        zp_kube_material_clear(&second);
        write_file(world, "ca.crt", "CA 2");
        assert_int_equal(zp_kube_material_read(&world->config, &first, NULL, &second, NULL), 0);
        assert_false(zp_kube_material_equal(&first, &second));
        zp_kube_material_clear(&second);
        write_file(world, "token", "");
        assert_int_equal(zp_kube_material_read(&world->config, &first, NULL, &second, NULL), -EINVAL);
        zp_kube_material_clear(&first);
}

static void a_token_file_that_is_not_there_leaves_the_token(void **state) {
        struct world *world = *state;
        struct zp_kube_material material;
        write_file(world, "ca.crt", "CA");
        assert_int_equal(zp_kube_material_read(&world->config, NULL, NULL, &material, NULL), -ENOENT);
        world->config.user.token = "given";
        assert_int_equal(zp_kube_material_read(&world->config, NULL, NULL, &material, NULL), 0);
        assert_string_equal(material.authorization, "Bearer given");
        zp_kube_material_clear(&material);
}

static void a_name_and_a_password_are_sent_as_basic(void **state) {
        struct world *world = *state;
        struct zp_kube_material material;
        world->config.cluster.authority.file = world->config.user.token_file = NULL;
        world->config.user.username = "Aladdin"; /* RFC 7617, 2 */
        world->config.user.password = "open sesame";
        assert_int_equal(zp_kube_material_read(&world->config, NULL, NULL, &material, NULL), 0);
        assert_string_equal(material.authorization, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        zp_kube_material_clear(&material);
}

/* ---- sessions ---- */

static void expect_session(const char *server, const char *tls_name, const char *base, const char *connect_to) {
        struct zp_kube_config config = { .cluster = { .server = server, .tls_server_name = tls_name } };
        const struct zp_kube_options options = { .config = &config, .user_agent = "test" };
        struct zp_kube_material material = { 0 };
        struct zp_kube_session *session;
        assert_int_equal(zp_kube_session_new(&options, &material, &session, NULL), 0);
        assert_string_equal(session->base, base);
        if (connect_to)
                assert_string_equal(session->connect_to, connect_to);
        else
                assert_null(session->connect_to);
        zp_kube_session_free(session);
}

static void the_server_is_reached_by_the_name_in_its_certificate(void **state) {
        (void) state;
        expect_session("https://k.example", NULL, "https://k.example", NULL);
        expect_session("https://k.example:6443/p/", NULL, "https://k.example:6443/p", NULL);
        expect_session("https://10.0.0.1:6443/p//", "kube", "https://kube:6443/p", "10.0.0.1:6443");
        expect_session("https://10.0.0.1/", "kube", "https://kube:443", "10.0.0.1:443");
        expect_session("https://[fd00::1]", "kube", "https://kube:443", "[fd00::1]:443");
        expect_session("https://[fd00::1]:8443", "kube", "https://kube:8443", "[fd00::1]:8443");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(tokens_lose_the_space_around_them_and_have_none_within),
                cmocka_unit_test(plugins_give_tokens_and_certificates),
                cmocka_unit_test(every_form_of_an_expiry_is_understood),
                cmocka_unit_test(other_output_is_refused_without_being_shown),
                cmocka_unit_test_setup_teardown(files_are_read_as_they_are_now, make_world, end_world),
                cmocka_unit_test_setup_teardown(a_token_file_that_is_not_there_leaves_the_token, make_world, end_world),
                cmocka_unit_test_setup_teardown(a_name_and_a_password_are_sent_as_basic, make_world, end_world),
                cmocka_unit_test(the_server_is_reached_by_the_name_in_its_certificate),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
