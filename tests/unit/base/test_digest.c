/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256 against the examples of FIPS 180-4 (as published by NIST), and the text form of digests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/digest.h"

/* From NIST's "SHA-256 Examples". */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define TWO_BLOCKS "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define MILLION_A "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

static const char two_blocks[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";

static void assert_digest(const struct zp_digest *digest, const char *expected) {
        char hex[ZP_SHA256_HEX_SIZE];
        assert_string_equal(zp_digest_hex(digest, hex), expected);
}

static void one_buffer_has_the_published_digest(void **state) {
        (void) state;
        struct zp_digest digest;
        zp_digest_of("abc", 3, &digest);
        assert_digest(&digest, ABC);
        zp_digest_of(two_blocks, strlen(two_blocks), &digest);
        assert_digest(&digest, TWO_BLOCKS);
        zp_digest_of("", 0, &digest);
        assert_digest(&digest, EMPTY);
}

static void running_hash_does_not_depend_on_the_pieces(void **state) {
        (void) state;
        struct zp_sha256 *hash = zp_sha256_new();
        struct zp_digest digest;
        char piece[997];
        memset(piece, 'a', sizeof piece);
        assert_non_null(hash);
        for (size_t left = 1000000; left > 0;) {
                size_t n = left < sizeof piece ? left : sizeof piece;
                zp_sha256_update(hash, piece, n);
                left -= n;
        }
        zp_sha256_finish(hash, &digest);
        assert_digest(&digest, MILLION_A);
        zp_sha256_free(hash);
}

static void hash_can_be_used_again(void **state) {
        (void) state;
        struct zp_sha256 *hash = zp_sha256_new();
        struct zp_digest digest;
        zp_sha256_update(hash, "abc", 3);
        zp_sha256_finish(hash, &digest);
        assert_digest(&digest, ABC);
        zp_sha256_finish(hash, &digest);
        assert_digest(&digest, EMPTY);
        zp_sha256_update(hash, "something else", 14);
        zp_sha256_reset(hash);
        zp_sha256_update(hash, "abc", 3);
        zp_sha256_finish(hash, &digest);
        assert_digest(&digest, ABC);
        zp_sha256_free(hash);
}

static void text_form_comes_back(void **state) {
        (void) state;
        struct zp_digest digest, other;
        struct zp_error err = { 0 };
        char text[ZP_DIGEST_TEXT_SIZE];
        assert_int_equal(zp_digest_parse("sha256:" ABC, &digest, &err), 0);
        assert_string_equal(zp_digest_text(&digest, text), "sha256:" ABC);
        assert_true(zp_digest_parse_hex(ABC, &other));
        assert_true(zp_digest_equal(&digest, &other));
        other.bytes[31] ^= 1;
        assert_false(zp_digest_equal(&digest, &other));
}

static void other_forms_are_refused(void **state) {
        (void) state;
        static const char *const texts[] = {
                "",
                "sha256",
                "sha256:",
                ABC,
                "sha256:" ABC "0",
                "sha256: " ABC,
                "SHA256:" ABC,
                "sha256:g" ABC,
                "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
                "sha384:" ABC,
        };
        struct zp_digest digest;
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                struct zp_error err = { 0 };
                assert_int_equal(zp_digest_parse(texts[i], &digest, &err), -EINVAL);
                assert_non_null(strstr(err.message, texts[i]));
        }
        assert_false(zp_digest_parse_hex("ba78", &digest));
}

static void other_algorithm_is_named(void **state) {
        (void) state;
        struct zp_digest digest;
        struct zp_error err = { 0 };
        assert_int_equal(zp_digest_parse("sha512:" ABC ABC, &digest, &err), -ENOTSUP);
        assert_non_null(strstr(err.message, "sha512 is not supported"));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_buffer_has_the_published_digest),
                cmocka_unit_test(running_hash_does_not_depend_on_the_pieces),
                cmocka_unit_test(hash_can_be_used_again),
                cmocka_unit_test(text_form_comes_back),
                cmocka_unit_test(other_forms_are_refused),
                cmocka_unit_test(other_algorithm_is_named),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
