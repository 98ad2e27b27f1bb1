/* SPDX-License-Identifier: Apache-2.0
 *
 * One process asks another for credentials, wherever the root directory is.
 */
#include "../control/support.h"

#include <sys/stat.h>

#include "base/buffer.h"
#include "snapshotter/keychain/share.h"

static struct snap_keychain *keychain;
static struct snap_share *share;

static void serve(const char *root) {
        assert_ok(snap_keychain_new(&keychain, &err));
        assert_ok(snap_share_new(root, keychain, &share, &err));
}

static void end(void) {
        snap_share_free(share);
        snap_keychain_free(keychain);
}

static void expect(const char *root, const char *repository, const char *expected) {
        struct zp_credentials c = { 0 };
        char text[200] = "";
        int r = snap_share_ask((void *) root, "r.example", repository, &c, &err);
        assert_ok(r);
        if (r == 1)
                snprintf(text, sizeof text, "%s|%s|%s|%s", c.username ? c.username : "-", c.password ? c.password : "-",
                         c.identity_token ? c.identity_token : "-", c.registry_token ? c.registry_token : "-");
        assert_string_equal(text, expected);
        zp_credentials_clear(&c);
}

static void remember(const char *repository, const struct zp_credentials *credentials) {
        snap_keychain_remember(keychain, "r.example", repository, credentials);
}

static void what_one_remembers_the_other_is_told(void **state) {
        (void) state;
        serve(directory);
        remember("a", &(struct zp_credentials){ .username = (char *) "u", .password = (char *) "" });
        remember("b", &(struct zp_credentials){ .identity_token = (char *) "tok" });
        remember("c", &(struct zp_credentials){ .registry_token = (char *) "+-" });
        expect(directory, "a", "u||-|-");
        expect(directory, "b", "-|-|tok|-");
        expect(directory, "c", "-|-|-|+-");
        expect(directory, "d", "");
        expect(directory, "", "");
        end();
}

static void long_secrets_arrive_whole(void **state) {
        char *secret = malloc(65536);
        struct zp_credentials c = { 0 };
        (void) state;
        memset(secret, 's', 65535);
        secret[65535] = '\0';
        serve(directory);
        remember("a", &(struct zp_credentials){ .username = (char *) "u", .password = secret });
        assert_int_equal(snap_share_ask(directory, "r.example", "a", &c, &err), 1);
        assert_string_equal(c.password, secret);
        zp_credentials_clear(&c);
        end();
        free(secret);
}

static void nobody_there_knows_nothing(void **state) {
        (void) state;
        expect(directory, "a", "");
        serve(directory);
        end();
        expect(directory, "a", "");
        expect("/nonexistent", "a", "");
}

static void a_root_may_have_a_longer_path_than_a_socket(void **state) {
        char name[201], *root;
        (void) state;
        memset(name, 'd', 200);
        name[200] = '\0';
        root = zp_format("%s/%s", directory, name);
        assert_int_equal(mkdir(root, 0700), 0);
        serve(root);
        remember("a", &(struct zp_credentials){ .identity_token = (char *) "tok" });
        expect(root, "a", "-|-|tok|-");
        end();
        free(root);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_one_remembers_the_other_is_told, setup, teardown),
                cmocka_unit_test_setup_teardown(long_secrets_arrive_whole, setup, teardown),
                cmocka_unit_test_setup_teardown(nobody_there_knows_nothing, setup, teardown),
                cmocka_unit_test_setup_teardown(a_root_may_have_a_longer_path_than_a_socket, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
