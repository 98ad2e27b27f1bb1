/* SPDX-License-Identifier: Apache-2.0
 *
 * Keys: the same as the openssl program's, in both directions, and nothing else.
 */
#include "support.h"

#include <openssl/evp.h>
#include <sys/stat.h>

#include "trust/key.h"

static int tell(void *argument, const char *name, char passphrase[ZP_PASSPHRASE_SIZE], struct zp_error *error) {
        (void) name;
        (void) error;
        strcpy(passphrase, argument);
        return 0;
}

static struct zp_passphrase passphrase(const char *text) {
        return (struct zp_passphrase){ tell, (void *) text };
}

static struct zp_key *load(const char *path) {
        struct zp_key *key = NULL;
        if (zp_key_load(path, NULL, &key, &err) < 0)
                fail_msg("%s", err.message);
        return key;
}

static int parse(const char *pem, size_t size) {
        struct zp_key *key = NULL;
        zp_error_clear(&err);
        int r = zp_key_parse(pem, size, "k", NULL, &key, &err);
        zp_key_free(key);
        assert_true((r < 0) == (err.message[0] != '\0'));
        return r;
}

static void assert_load_fails(const char *path, int code, const char *text) {
        struct zp_key *key = NULL;
        zp_error_clear(&err);
        assert_int_equal(zp_key_load(path, NULL, &key, &err), -code);
        assert_null(key);
        assert_message_has(text);
        assert_message_has(path);
}

static void assert_same_file(const char *a, const char *b) {
        size_t a_size, b_size;
        zp_autofree char *a_data = read_whole(a, &a_size), *b_data = read_whole(b, &b_size);
        assert_int_equal(a_size, b_size);
        assert_memory_equal(a_data, b_data, a_size);
}

/* RFC 8032, 7.1, TEST 3 */
static void the_signature_of_rfc_8032_comes_out(void **state) {
        (void) state;
        static const char pem[] = "-----BEGIN PRIVATE KEY-----\n"
                                  "MC4CAQAwBQYDK2VwBCIEIMWqjfQ/n4N77bdELzHct7Fm04U1B28JS4XOOi4LRFj3\n"
                                  "-----END PRIVATE KEY-----\n";
        static const uint8_t message[] = { 0xaf, 0x82 };
        static const uint8_t expected[] = {
                0x62, 0x91, 0xd6, 0x57, 0xde, 0xec, 0x24, 0x02, 0x48, 0x27, 0xe6, 0x9c, 0x3a, 0xbe, 0x01, 0xa3,
                0x0c, 0xe5, 0x48, 0xa2, 0x84, 0x74, 0x3a, 0x44, 0x5e, 0x36, 0x80, 0xd7, 0xdb, 0x5a, 0xc3, 0xac,
                0x18, 0xff, 0x9b, 0x53, 0x8d, 0x16, 0xf2, 0x90, 0xae, 0x67, 0xf7, 0x60, 0x98, 0x4d, 0xc6, 0x59,
                0x4a, 0x7c, 0x15, 0xe9, 0x71, 0x6e, 0xd2, 0x8d, 0xc0, 0x27, 0xbe, 0xce, 0xea, 0x1e, 0xc4, 0x0a,
        };
        struct zp_key *key = NULL;
        uint8_t signature[ZP_KEY_SIGNATURE_SIZE];
        assert_int_equal(zp_key_parse(pem, strlen(pem), "rfc", NULL, &key, &err), 0);
        assert_int_equal(zp_key_sign(key, message, sizeof message, signature, &err), 0);
        assert_memory_equal(signature, expected, sizeof expected);
        assert_true(zp_key_verify(key, message, sizeof message, expected));
        zp_key_free(key);
}

static void openssl_reads_what_is_written(void **state) {
        (void) state;
        struct zp_key *key = NULL;
        struct stat st;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        assert_int_equal(zp_key_save_private(key, "plain", NULL, &err), 0);
        assert_int_equal(zp_key_save_private(key, "encrypted", "pass phrase", &err), 0);
        assert_int_equal(zp_key_save_public(key, "public", &err), 0);
        OPENSSL("pkey", "-in", "plain", "-pubout", "-out", "from-plain");
        OPENSSL("pkey", "-in", "encrypted", "-passin", "pass:pass phrase", "-pubout", "-out", "from-encrypted");
        OPENSSL("pkey", "-pubin", "-in", "public", "-pubout", "-out", "from-public");
        assert_same_file("from-plain", "public");
        assert_same_file("from-encrypted", "public");
        assert_same_file("from-public", "public");
        assert_int_equal(stat("plain", &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        assert_int_equal(stat("encrypted", &st), 0);
        assert_int_equal(st.st_mode & 07777, 0600);
        zp_key_free(key);
}

static void what_openssl_writes_is_read(void **state) {
        (void) state;
        OPENSSL("genpkey", "-algorithm", "ed25519", "-out", "private");
        OPENSSL("pkey", "-in", "private", "-pubout", "-out", "public");
        OPENSSL("pkey", "-in", "private", "-aes128", "-passout", "pass:secret", "-out", "encrypted");
        OPENSSL("pkey", "-pubin", "-in", "public", "-outform", "DER", "-out", "der");
        size_t size;
        zp_autofree char *der = read_whole("der", &size);
        struct zp_digest id;
        zp_digest_of(der, size, &id);
        struct zp_passphrase right = passphrase("secret"), wrong = passphrase("Secret");
        struct zp_key *private = load("private"), *public = load("public"), *encrypted = NULL;
        assert_int_equal(zp_key_load("encrypted", &wrong, &encrypted, &err), -EACCES);
        assert_message_has("passphrase is wrong");
        assert_int_equal(zp_key_load("encrypted", NULL, &encrypted, &err), -EACCES);
        assert_null(encrypted);
        assert_int_equal(zp_key_load_private("encrypted", &right, &encrypted, &err), 0);
        assert_true(zp_digest_equal(zp_key_id(private), &id));
        assert_true(zp_digest_equal(zp_key_id(public), &id));
        assert_true(zp_digest_equal(zp_key_id(encrypted), &id));
        assert_true(zp_key_is_private(private) && !zp_key_is_encrypted(private));
        assert_true(!zp_key_is_private(public) && !zp_key_is_encrypted(public));
        assert_true(zp_key_is_private(encrypted) && zp_key_is_encrypted(encrypted));
        zp_key_free(private);
        zp_key_free(public);
        zp_key_free(encrypted);
}

static void openssl_verifies_what_is_signed_and_the_other_way_round(void **state) {
        (void) state;
        static const char message[] = "any message\n";
        size_t size;
        OPENSSL("genpkey", "-algorithm", "ed25519", "-out", "private");
        OPENSSL("pkey", "-in", "private", "-pubout", "-out", "public");
        write_text("message", message);
        struct zp_key *private = load("private"), *public = load("public");
        uint8_t signature[ZP_KEY_SIGNATURE_SIZE];
        assert_int_equal(zp_key_sign(private, message, strlen(message), signature, &err), 0);
        write_file("ours", signature, sizeof signature);
        OPENSSL("pkeyutl", "-verify", "-pubin", "-inkey", "public", "-rawin", "-in", "message", "-sigfile", "ours");
        OPENSSL("pkeyutl", "-sign", "-inkey", "private", "-rawin", "-in", "message", "-out", "theirs");
        zp_autofree char *theirs = read_whole("theirs", &size);
        assert_int_equal(size, ZP_KEY_SIGNATURE_SIZE);
        assert_true(zp_key_verify(public, message, strlen(message), (uint8_t *) theirs));
        assert_int_equal(zp_key_sign(public, message, strlen(message), signature, &err), -EINVAL);
        zp_key_free(private);
        zp_key_free(public);
}

static void each_bit_of_message_and_signature_counts(void **state) {
        (void) state;
        char message[] = "any message\n";
        uint8_t signature[ZP_KEY_SIGNATURE_SIZE];
        struct zp_key *key = NULL, *other = NULL;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        assert_int_equal(zp_key_generate(&other, &err), 0);
        assert_int_equal(zp_key_sign(key, message, sizeof message, signature, &err), 0);
        for (size_t bit = 0; bit < 8 * sizeof signature; bit++) {
                signature[bit / 8] ^= (uint8_t) (1 << bit % 8);
                assert_false(zp_key_verify(key, message, sizeof message, signature));
                signature[bit / 8] ^= (uint8_t) (1 << bit % 8);
        }
        for (size_t bit = 0; bit < 8 * sizeof message; bit++) {
                message[bit / 8] ^= (char) (1 << bit % 8);
                assert_false(zp_key_verify(key, message, sizeof message, signature));
                message[bit / 8] ^= (char) (1 << bit % 8);
        }
        assert_false(zp_key_verify(key, message, sizeof message - 1, signature));
        assert_false(zp_key_verify(other, message, sizeof message, signature));
        assert_true(zp_key_verify(key, message, sizeof message, signature));
        zp_key_free(key);
        zp_key_free(other);
}

static void keys_of_other_algorithms_are_refused_by_name(void **state) {
        (void) state;
        OPENSSL("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:1024", "-out", "rsa");
        OPENSSL("pkey", "-in", "rsa", "-pubout", "-out", "rsa.pub");
        OPENSSL("genpkey", "-algorithm", "ed448", "-out", "ed448");
        OPENSSL("genpkey", "-algorithm", "x25519", "-out", "x25519");
        OPENSSL("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "ec");
        assert_load_fails("rsa", ENOTSUP, "RSA");
        assert_load_fails("rsa.pub", ENOTSUP, "RSA");
        assert_load_fails("ed448", ENOTSUP, "ED448");
        assert_load_fails("x25519", ENOTSUP, "X25519");
        assert_load_fails("ec", ENOTSUP, "EC");
        OPENSSL("pkey", "-in", "rsa", "-traditional", "-out", "traditional");
        assert_load_fails("traditional", ENOTSUP, "RSA PRIVATE KEY");
        OPENSSL("pkey", "-in", "rsa", "-traditional", "-aes128", "-passout", "pass:x", "-out", "traditional");
        assert_load_fails("traditional", ENOTSUP, "RSA PRIVATE KEY");
        write_text("ssh", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n");
        assert_load_fails("ssh", ENOTSUP, "OPENSSH PRIVATE KEY");
}

static void what_is_no_key_is_refused(void **state) {
        (void) state;
        assert_load_fails("absent", ENOENT, "absent");
        write_text("empty", "");
        assert_load_fails("empty", EINVAL, "no PEM block");
        write_text("words", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI me@here\n");
        assert_load_fails("words", EINVAL, "no PEM block");
        write_text("nothing", "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n");
        assert_load_fails("nothing", EINVAL, "");
        write_text("zeros", "-----BEGIN PRIVATE KEY-----\nAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n");
        assert_load_fails("zeros", EINVAL, "no private key");
        write_text("zeros", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAAAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
        assert_load_fails("zeros", EINVAL, "no encrypted private key");
        zp_autofree char *large = malloc(ZP_KEY_FILE_LIMIT + 1);
        memset(large, '\n', ZP_KEY_FILE_LIMIT + 1);
        write_file("large", large, ZP_KEY_FILE_LIMIT + 1);
        assert_load_fails("large", EFBIG, "larger");
}

/* A whole SubjectPublicKeyInfo, and one byte more in the block. */
static void bytes_behind_the_key_are_refused(void **state) {
        (void) state;
        struct zp_key *key = NULL;
        char *pem;
        size_t size, der_size;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        assert_int_equal(zp_key_save_public(key, "public", &err), 0);
        OPENSSL("pkey", "-pubin", "-in", "public", "-outform", "DER", "-out", "der");
        zp_autofree char *der = read_whole("der", &der_size);
        assert_int_equal(der_size, 44);
        uint8_t longer[45] = { 0 };
        char base64[61], text[160];
        memcpy(longer, der, 44);
        EVP_EncodeBlock((unsigned char *) base64, longer, 45);
        snprintf(text, sizeof text, "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n", base64);
        assert_int_equal(parse(text, strlen(text)), -EINVAL);
        EVP_EncodeBlock((unsigned char *) base64, longer, 44);
        snprintf(text, sizeof text, "-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n", base64);
        assert_int_equal(parse(text, strlen(text)), 0);
        assert_int_equal(zp_key_format_public(key, &pem, &size, &err), 0);
        assert_string_equal(pem, text);
        free(pem);
        zp_key_free(key);
}

static void a_file_cut_short_or_doubled_is_refused(void **state) {
        (void) state;
        struct zp_key *key = NULL;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        assert_int_equal(zp_key_save_private(key, "private", NULL, &err), 0);
        assert_int_equal(zp_key_save_public(key, "public", &err), 0);
        for (int i = 0; i < 2; i++) {
                size_t size;
                zp_autofree char *pem = read_whole(i ? "public" : "private", &size);
                for (size_t cut = 0; cut < size - 1; cut++)
                        assert_int_equal(parse(pem, cut), -EINVAL);
                assert_int_equal(parse(pem, size - 1), 0); /* but for the last newline */
                zp_autofree char *twice = malloc(2 * size);
                memcpy(twice, pem, size);
                memcpy(twice + size, pem, size);
                for (size_t more = size + strcspn(pem, "\n"); more <= 2 * size; more++)
                        assert_int_equal(parse(twice, more), -EINVAL);
                assert_message_has("more than one");
        }
        zp_key_free(key);
}

static void a_private_key_is_not_taken_for_a_public_one(void **state) {
        (void) state;
        struct zp_key *key = NULL, *out = NULL;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        assert_int_equal(zp_key_save_private(key, "private", NULL, &err), 0);
        assert_int_equal(zp_key_save_private(key, "encrypted", "x", &err), 0);
        assert_int_equal(zp_key_save_public(key, "public", &err), 0);
        assert_int_equal(zp_key_load_public("private", &out, &err), -EINVAL);
        assert_message_has("a private key");
        assert_int_equal(zp_key_load_public("encrypted", &out, &err), -EINVAL);
        assert_message_has("a private key");
        assert_int_equal(zp_key_load_private("public", NULL, &out, &err), -EINVAL);
        assert_message_has("a public key");
        assert_null(out);
        assert_int_equal(zp_key_load_public("public", &out, &err), 0);
        assert_int_equal(zp_key_save_private(out, "new", NULL, &err), -EINVAL);
        assert_int_equal(access("new", F_OK), -1);
        zp_key_free(key);
        zp_key_free(out);
}

static void a_key_is_never_overwritten(void **state) {
        (void) state;
        struct zp_key *key = NULL;
        size_t size;
        assert_int_equal(zp_key_generate(&key, &err), 0);
        write_text("old", "precious");
        assert_int_equal(zp_key_save_private(key, "old", NULL, &err), -EEXIST);
        assert_int_equal(zp_key_save_public(key, "old", &err), -EEXIST);
        zp_autofree char *text = read_whole("old", &size);
        assert_string_equal(text, "precious");
        zp_key_free(key);
}

int main(void) {
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_signature_of_rfc_8032_comes_out),
                IN_DIRECTORY(openssl_reads_what_is_written),
                IN_DIRECTORY(what_openssl_writes_is_read),
                IN_DIRECTORY(openssl_verifies_what_is_signed_and_the_other_way_round),
                cmocka_unit_test(each_bit_of_message_and_signature_counts),
                IN_DIRECTORY(keys_of_other_algorithms_are_refused_by_name),
                IN_DIRECTORY(what_is_no_key_is_refused),
                IN_DIRECTORY(bytes_behind_the_key_are_refused),
                IN_DIRECTORY(a_file_cut_short_or_doubled_is_refused),
                IN_DIRECTORY(a_private_key_is_not_taken_for_a_public_one),
                IN_DIRECTORY(a_key_is_never_overwritten),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
