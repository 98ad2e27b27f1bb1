/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "controller/node/secrets.h"
#include "oci/json.h"

static json_t *auths;
static struct zp_error err;

static int begin(void **state) {
        (void) state;
        auths = json_object();
        err = (struct zp_error){ 0 };
        return 0;
}

static int end(void **state) {
        (void) state;
        json_decref(auths);
        return 0;
}

static int add(const char *type, const char *key, const char *data) {
        zp_auto(json_decref) json_t *secret =
                json_pack("{s:{s:s}, s:s, s:{s:s}}", "metadata", "name", "pull", "type", type, "data", key, data);
        return node_secret_add(secret, auths, &err);
}

/* base64(1) of {"auths":{"r.example":{"auth":"dTpw"}},"credsStore":"evil"} and of {"r.example":{"auth":"eDp5"}} */
static const char modern[] = "eyJhdXRocyI6eyJyLmV4YW1wbGUiOnsiYXV0aCI6ImRUcHcifX0sImNyZWRzU3RvcmUiOiJldmlsIn0=";
static const char legacy[] = "eyJyLmV4YW1wbGUiOnsiYXV0aCI6ImVEcDUifX0=";

static const char *auth_of(const char *registry) {
        const char *auth = json_string_value(json_object_get(json_object_get(auths, registry), "auth"));
        return auth ? auth : "";
}

static void credentials_come_from_both_kinds_and_the_first_counts(void **state) {
        (void) state;
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", modern), 0);
        assert_string_equal(auth_of("r.example"), "dTpw");
        assert_int_equal(add("kubernetes.io/dockercfg", ".dockercfg", legacy), 0);
        assert_string_equal(auth_of("r.example"), "dTpw");
        json_object_clear(auths);
        assert_int_equal(add("kubernetes.io/dockercfg", ".dockercfg", legacy), 0);
        assert_string_equal(auth_of("r.example"), "eDp5");
}

static void nothing_but_credentials_is_taken(void **state) {
        (void) state;
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", modern), 0);
        assert_int_equal(json_object_size(auths), 1); /* no credsStore: it would name a program */
}

static void what_is_no_pull_secret_is_refused_without_its_content(void **state) {
        (void) state;
        assert_int_equal(add("Opaque", ".dockerconfigjson", modern), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", "other", modern), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "no base64"), -EBADMSG);
        assert_int_equal(add("kubernetes.io/dockerconfigjson", ".dockerconfigjson", "c2VjcmV0IGl0c2VsZg=="), -EBADMSG);
        assert_null(strstr(err.message, "secret itself"));
        assert_int_equal(json_object_size(auths), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(credentials_come_from_both_kinds_and_the_first_counts, begin, end),
                cmocka_unit_test_setup_teardown(nothing_but_credentials_is_taken, begin, end),
                cmocka_unit_test_setup_teardown(what_is_no_pull_secret_is_refused_without_its_content, begin, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
