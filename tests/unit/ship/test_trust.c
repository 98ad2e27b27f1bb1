/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures in a directory, and what is made of them. How they look is the trust room's matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "ship/trust.h"

#define IMAGE "docker://registry.example/prod/web:3"
#define ARTIFACT_SIZE 1234

struct fixture {
        char directory[64];
        struct zp_remote *remote;
        struct zp_key *release, *stranger;
        struct zp_digest artifact, subject, other;
        struct zp_error err;
};

static int set_up(void **state) {
        struct fixture *f = calloc(1, sizeof *f);
        strcpy(f->directory, "/tmp/zp-test-trust-XXXXXX");
        assert_non_null(mkdtemp(f->directory));
        zp_autofree char *name = zp_format("dir:%s", f->directory), *public = zp_format("%s/release.pub", f->directory);
        assert_int_equal(zp_remote_open(name, NULL, &f->remote, &f->err), 0);
        assert_int_equal(zp_key_generate(&f->release, &f->err), 0);
        assert_int_equal(zp_key_generate(&f->stranger, &f->err), 0);
        assert_int_equal(zp_key_save_public(f->release, public, &f->err), 0);
        zp_digest_of("artifact", 8, &f->artifact);
        zp_digest_of("subject", 7, &f->subject);
        zp_digest_of("other", 5, &f->other);
        *state = f;
        return 0;
}

static int tear_down(void **state) {
        struct fixture *f = *state;
        zp_remote_close(f->remote);
        zp_key_free(f->release);
        zp_key_free(f->stranger);
        zp_remove_tree(AT_FDCWD, f->directory, NULL);
        free(f);
        return 0;
}

static void sign(struct fixture *f, const struct zp_key *key, const struct zp_digest *artifact,
                 const struct zp_digest *subject) {
        assert_int_equal(zp_sign_published(f->remote, key, artifact, ARTIFACT_SIZE, subject, &f->err), 0);
}

static size_t count_signatures(struct fixture *f) {
        zp_autofree struct zp_signature *signatures = NULL;
        size_t count = 0;
        assert_int_equal(zp_sign_find(f->remote, &f->artifact, &signatures, &count, &f->err), 0);
        return count;
}

static struct zp_policy *policy(struct fixture *f, const char *rule) {
        zp_autofree char *path = zp_format("%s/policy.yaml", f->directory);
        zp_autofree char *text = zp_format("version: 1\nkeys: {release: release.pub}\nrules:\n  - %s\n", rule);
        struct zp_policy *out = NULL;
        assert_int_equal(zp_replace_file(AT_FDCWD, path, text, strlen(text), 0644, &f->err), 0);
        assert_int_equal(zp_policy_load(path, &out, &f->err), 0);
        return out;
}

static int check(struct fixture *f, struct zp_trust *trust) {
        struct zp_descriptor artifact = { NULL, f->artifact, ARTIFACT_SIZE };
        trust->remote = f->remote;
        trust->image = trust->image ? trust->image : IMAGE;
        zp_error_clear(&f->err);
        return zp_trust_check(trust, &artifact, &f->subject, &f->err);
}

static void what_was_signed_is_found(void **state) {
        struct fixture *f = *state;
        assert_int_equal(count_signatures(f), 0);
        sign(f, f->release, &f->artifact, &f->subject);
        sign(f, f->release, &f->artifact, &f->subject);
        assert_int_equal(count_signatures(f), 1);
        sign(f, f->stranger, &f->artifact, &f->subject);
        sign(f, f->stranger, &f->other, &f->subject);
        assert_int_equal(count_signatures(f), 2);
}

static void no_more_are_looked_at_than_the_limit(void **state) {
        struct fixture *f = *state;
        for (unsigned i = 0; i < ZP_SIGNATURES_MAX + 3; i++) {
                zp_auto(zp_key_free) struct zp_key *key = NULL;
                assert_int_equal(zp_key_generate(&key, &f->err), 0);
                sign(f, key, &f->artifact, &f->subject);
        }
        assert_int_equal(count_signatures(f), ZP_SIGNATURES_MAX);
}

static void a_key_must_have_signed_this_artifact_for_this_image(void **state) {
        struct fixture *f = *state;
        struct zp_trust trust = { .keys = &f->release, .key_count = 1 };
        assert_int_equal(check(f, &trust), -EACCES);
        assert_true(trust.is_refused);
        sign(f, f->stranger, &f->artifact, &f->subject);
        sign(f, f->release, &f->artifact, &f->other);
        sign(f, f->release, &f->other, &f->subject);
        assert_int_equal(check(f, &trust), -EACCES);
        sign(f, f->release, &f->artifact, &f->subject);
        assert_int_equal(check(f, &trust), 0);
        assert_false(trust.is_refused);
        assert_string_not_equal(trust.reason, "");
}

static void each_of_several_keys_must_have_signed(void **state) {
        struct fixture *f = *state;
        struct zp_key *keys[] = { f->release, f->stranger };
        struct zp_trust trust = { .keys = keys, .key_count = 2 };
        sign(f, f->release, &f->artifact, &f->subject);
        assert_int_equal(check(f, &trust), -EACCES);
        sign(f, f->stranger, &f->artifact, &f->subject);
        assert_int_equal(check(f, &trust), 0);
}

static void policy_and_key_are_two_conditions(void **state) {
        struct fixture *f = *state;
        zp_auto(zp_policy_free) struct zp_policy *required =
                policy(f, "{repository: registry.example/prod/web, require: [release]}");
        struct zp_trust trust = { .policy = required, .keys = &f->stranger, .key_count = 1 };
        sign(f, f->release, &f->artifact, &f->subject);
        assert_int_equal(check(f, &trust), -EACCES);
        trust.key_count = 0;
        assert_int_equal(check(f, &trust), 0);
        trust = (struct zp_trust){ .policy = required, .keys = &f->stranger, .key_count = 1, .image = "oci:/here:x" };
        sign(f, f->stranger, &f->artifact, &f->subject);
        assert_int_equal(check(f, &trust), 0);
}

static int wants(struct zp_trust trust, struct fixture *f) {
        trust.image = trust.image ? trust.image : IMAGE;
        return zp_trust_wants_check(&trust, &f->err);
}

static void the_rule_says_whether_to_look(void **state) {
        struct fixture *f = *state;
        zp_auto(zp_policy_free) struct zp_policy *required = policy(f, "{repository: '*', require: [release]}");
        zp_auto(zp_policy_free) struct zp_policy *accepted = policy(f, "{repository: '*', action: accept}");
        zp_auto(zp_policy_free) struct zp_policy *rejected = policy(f, "{repository: '*', action: reject}");
        zp_auto(zp_policy_free) struct zp_policy *others =
                policy(f, "{repository: registry.example/dev/*, action: reject}");
        assert_int_equal(wants((struct zp_trust){ 0 }, f), 0);
        assert_int_equal(wants((struct zp_trust){ .policy = required }, f), 1);
        assert_int_equal(wants((struct zp_trust){ .policy = required, .image = "oci:/here" }, f), 1);
        assert_int_equal(wants((struct zp_trust){ .policy = accepted }, f), 0);
        assert_int_equal(wants((struct zp_trust){ .policy = accepted, .keys = &f->release, .key_count = 1 }, f), 1);
        assert_int_equal(wants((struct zp_trust){ .policy = others }, f), 0);
        assert_int_equal(wants((struct zp_trust){ .policy = rejected }, f), -EACCES);
        assert_int_equal(wants((struct zp_trust){ .policy = rejected, .image = "oci:/here" }, f), -EACCES);
        assert_int_equal(wants((struct zp_trust){ .policy = rejected, .keys = &f->release, .key_count = 1 }, f),
                         -EACCES);
}

static void what_is_no_error_leaves_none(void **state) {
        struct fixture *f = *state;
        zp_auto(zp_policy_free) struct zp_policy *accepted = policy(f, "{repository: '*', action: accept}");
        assert_int_equal(wants((struct zp_trust){ .policy = accepted, .image = "oci:/here" }, f), 0);
        assert_int_equal(f->err.code, 0);
        assert_string_equal(f->err.message, "");
}

static void signatures_that_cannot_be_read_are_no_acceptance(void **state) {
        struct fixture *f = *state;
        struct zp_trust trust = { .keys = &f->release, .key_count = 1 };
        char hex[ZP_SHA256_HEX_SIZE];
        sign(f, f->release, &f->artifact, &f->subject);
        zp_autofree char *place = zp_format("%s/referrers/%s/" ZP_SIGNATURE_ARTIFACT_TYPE, f->directory,
                                            zp_digest_hex(&f->artifact, hex));
        assert_int_equal(zp_remove_tree(AT_FDCWD, place, &f->err), 0);
        assert_int_equal(zp_replace_file(AT_FDCWD, place, "no folder", 9, 0644, &f->err), 0);
        assert_true(check(f, &trust) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(what_was_signed_is_found, set_up, tear_down),
                cmocka_unit_test_setup_teardown(no_more_are_looked_at_than_the_limit, set_up, tear_down),
                cmocka_unit_test_setup_teardown(a_key_must_have_signed_this_artifact_for_this_image, set_up, tear_down),
                cmocka_unit_test_setup_teardown(each_of_several_keys_must_have_signed, set_up, tear_down),
                cmocka_unit_test_setup_teardown(policy_and_key_are_two_conditions, set_up, tear_down),
                cmocka_unit_test_setup_teardown(the_rule_says_whether_to_look, set_up, tear_down),
                cmocka_unit_test_setup_teardown(what_is_no_error_leaves_none, set_up, tear_down),
                cmocka_unit_test_setup_teardown(signatures_that_cannot_be_read_are_no_acceptance, set_up, tear_down),
        };
        return cmocka_run_group_tests_name("ship/trust", tests, NULL, NULL);
}
