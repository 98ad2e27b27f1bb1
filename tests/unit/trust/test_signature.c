/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures: over exactly the bytes docs/artifact-format.md says, in exactly one form.
 */
#include "support.h"

#include <openssl/evp.h>
#include <stdio.h>

#include "oci/json.h"
#include "trust/signature.h"

#define HEX_A "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define HEX_S "sha256:fffefdfcfbfaf9f8f7f6f5f4f3f2f1f0efeeedecebeae9e8e7e6e5e4e3e2e1e0"
#define MESSAGE "zeropull-signature-v1\n" HEX_A "\n" HEX_S "\n"

static struct zp_digest artifact, subject;
static struct zp_key *key, *other;
static struct zp_signature signature;

static int make_group(void **state) {
        (void) state;
        return zp_digest_parse(HEX_A, &artifact, &err) | zp_digest_parse(HEX_S, &subject, &err) |
               zp_key_generate(&key, &err) | zp_key_generate(&other, &err) |
               zp_signature_make(key, &artifact, &subject, &signature, &err);
}

static int clear_group(void **state) {
        (void) state;
        zp_key_free(key);
        zp_key_free(other);
        return 0;
}

static int verify(const struct zp_signature *s) {
        return zp_signature_verify(s, &artifact, &subject, &key, 1, NULL, &err);
}

static void openssl_finds_it_true_over_the_documented_bytes(void **state) {
        (void) state;
        size_t size;
        write_text("message", MESSAGE);
        write_file("signature", signature.bytes, sizeof signature.bytes);
        assert_int_equal(zp_key_save_public(key, "public", &err), 0);
        assert_int_equal(zp_key_save_private(key, "private", NULL, &err), 0);
        OPENSSL("pkeyutl", "-verify", "-pubin", "-inkey", "public", "-rawin", "-in", "message", "-sigfile",
                "signature");
        OPENSSL("pkeyutl", "-sign", "-inkey", "private", "-rawin", "-in", "message", "-out", "theirs");
        zp_autofree char *theirs = read_whole("theirs", &size);
        struct zp_signature made = signature;
        memcpy(made.bytes, theirs, sizeof made.bytes);
        assert_int_equal(verify(&made), 0);
}

static void the_document_has_the_documented_bytes(void **state) {
        (void) state;
        char *text, expected[ZP_SIGNATURE_DOCUMENT_LIMIT], id[ZP_DIGEST_TEXT_SIZE], base64[89];
        size_t size;
        EVP_EncodeBlock((unsigned char *) base64, signature.bytes, sizeof signature.bytes);
        snprintf(expected, sizeof expected,
                 "{\"version\":1,\"artifact\":\"" HEX_A "\",\"subject\":\"" HEX_S
                 "\",\"key\":\"%s\",\"signature\":\"%s\"}",
                 zp_digest_text(zp_key_id(key), id), base64);
        assert_int_equal(zp_signature_format(&signature, &text, &size, &err), 0);
        assert_string_equal(text, expected);
        assert_int_equal(size, strlen(expected));
        struct zp_signature out;
        assert_int_equal(zp_signature_parse(text, size, &out, &err), 0);
        assert_memory_equal(&out, &signature, sizeof out);
        free(text);
}

/* What is changed in the document is not read, or is not true. */
static void each_bit_of_the_document_counts(void **state) {
        (void) state;
        char *text;
        size_t size;
        struct zp_signature out;
        assert_int_equal(zp_signature_format(&signature, &text, &size, &err), 0);
        for (size_t bit = 0; bit < 8 * size; bit++) {
                text[bit / 8] ^= (char) (1 << bit % 8);
                if (zp_signature_parse(text, size, &out, &err) == 0 && verify(&out) == 0)
                        fail_msg("accepted with bit %zu changed: %s", bit, text);
                text[bit / 8] ^= (char) (1 << bit % 8);
        }
        for (size_t cut = 0; cut < size; cut++)
                assert_true(zp_signature_parse(text, cut, &out, &err) < 0);
        free(text);
}

static void each_bit_of_the_digests_counts(void **state) {
        (void) state;
        for (size_t bit = 0; bit < 8 * ZP_SHA256_SIZE; bit++) {
                struct zp_signature changed = signature;
                struct zp_digest digest = artifact;
                changed.artifact.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
                digest.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
                assert_int_equal(verify(&changed), -EBADMSG);
                /* the same lie on both sides */
                assert_int_equal(zp_signature_verify(&changed, &digest, &subject, &key, 1, NULL, &err), -EBADMSG);
                assert_int_equal(zp_signature_verify(&signature, &digest, &subject, &key, 1, NULL, &err), -EBADMSG);
                changed = signature;
                digest = subject;
                changed.subject.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
                digest.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
                assert_int_equal(verify(&changed), -EBADMSG);
                assert_int_equal(zp_signature_verify(&changed, &artifact, &digest, &key, 1, NULL, &err), -EBADMSG);
                changed = signature;
                changed.key.bytes[bit / 8] ^= (uint8_t) (1 << bit % 8);
                assert_int_equal(verify(&changed), -ENOKEY);
        }
}

static void artifact_and_subject_cannot_change_places(void **state) {
        (void) state;
        struct zp_signature swapped = signature;
        swapped.artifact = subject;
        swapped.subject = artifact;
        assert_int_equal(zp_signature_verify(&swapped, &subject, &artifact, &key, 1, NULL, &err), -EBADMSG);
}

static void only_the_key_that_signed_will_do(void **state) {
        (void) state;
        struct zp_key *keys[] = { other, key };
        size_t which = 99;
        assert_int_equal(zp_signature_verify(&signature, &artifact, &subject, &other, 1, &which, &err), -ENOKEY);
        assert_int_equal(zp_signature_verify(&signature, &artifact, &subject, NULL, 0, &which, &err), -ENOKEY);
        assert_int_equal(which, 99);
        assert_int_equal(zp_signature_verify(&signature, &artifact, &subject, keys, 2, &which, &err), 0);
        assert_int_equal(which, 1);
        struct zp_signature claimed = signature; /* as if the other had made it */
        claimed.key = *zp_key_id(other);
        assert_int_equal(zp_signature_verify(&claimed, &artifact, &subject, keys, 2, NULL, &err), -EBADMSG);
}

/* RFC 8032, 5.1.7: S must be below the group's order L; S + L would satisfy the equation as well. */
static void a_second_signature_cannot_be_made_from_the_first(void **state) {
        (void) state;
        static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,       0xd6,
                                           0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
        struct zp_signature malleated = signature;
        unsigned carry = 0;
        for (size_t i = 0; i < 32; i++) {
                carry += (unsigned) malleated.bytes[32 + i] + order[i];
                malleated.bytes[32 + i] = (uint8_t) carry;
                carry >>= 8;
        }
        assert_int_equal(verify(&malleated), -EBADMSG);
}

/* The document with the first `from` replaced. */
static char *replaced(const char *text, const char *from, const char *to) {
        const char *at = strstr(text, from);
        assert_non_null(at);
        size_t size = strlen(text) + strlen(to) + 1;
        char *changed = malloc(size);
        snprintf(changed, size, "%.*s%s%s", (int) (at - text), text, to, at + strlen(from));
        return changed;
}

static void another_form_of_the_document_is_refused(void **state) {
        (void) state;
        static const struct {
                const char *from, *to;
                int code;
        } changes[] = {
                { "{", "{ ", EBADMSG },
                { "}", "}\n", EBADMSG },
                { "}", "}}", EBADMSG },
                { "}", ",\"more\":1}", EBADMSG },
                { "}", ",\"version\":1}", EBADMSG },
                { "}", ",\"Version\":1}", EBADMSG },
                { "{", "[{", EBADMSG },
                { "\"version\":1", "\"version\":2", ENOTSUP },
                { "\"version\":1", "\"version\":1.0", EBADMSG },
                { "\"version\":1", "\"version\":\"1\"", EBADMSG },
                { "\"version\":1", "\"version\":-1", EBADMSG },
                { "\"version\":1", "\"version\":99999999999999999999", EBADMSG },
                { "\"version\":1,", "", EBADMSG },
                { "\"artifact\":\"sha256:", "\"artifact\":\"", EBADMSG },
                { "\"artifact\":\"sha256:", "\"artifact\":\"sha512:", ENOTSUP },
                { "\"artifact\":\"sha256:00", "\"artifact\":\"sha256:\\u003000", EBADMSG },
                { "\"artifact\":\"sha256:0", "\"artifact\":\"sha256:\\u0030", EBADMSG },
                { "sha256:fffe", "sha256:FFFE", EBADMSG },
                { "\"key\":", "\"key\":null,\"kex\":", EBADMSG },
                { "==\"", "\"", EBADMSG },
                { "==\"", "=\"", EBADMSG },
                { "==\"", "AA==\"", EBADMSG },
                { "\"signature\":\"", "\"signature\":\" ", EBADMSG },
                { "\"signature\":\"", "\"signature\":[],\"x\":\"", EBADMSG },
        };
        char *text;
        size_t size;
        struct zp_signature out;
        assert_int_equal(zp_signature_format(&signature, &text, &size, &err), 0);
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
                zp_autofree char *changed = replaced(text, changes[i].from, changes[i].to);
                zp_error_clear(&err);
                if (zp_signature_parse(changed, strlen(changed), &out, &err) != -changes[i].code)
                        fail_msg("'%s' for '%s': %s", changes[i].to, changes[i].from, err.message);
                assert_true(err.message[0] != '\0');
        }
        free(text);
}

static void hostile_json_is_refused(void **state) {
        (void) state;
        zp_autofree char *large = malloc(ZP_SIGNATURE_MANIFEST_LIMIT + 1);
        memset(large, '[', ZP_SIGNATURE_MANIFEST_LIMIT + 1);
        struct zp_signature out;
        assert_int_equal(zp_signature_parse(large, ZP_SIGNATURE_DOCUMENT_LIMIT + 1, &out, &err), -EFBIG);
        assert_int_equal(zp_signature_parse(large, ZP_SIGNATURE_DOCUMENT_LIMIT, &out, &err), -EBADMSG);
        assert_int_equal(zp_signature_parse_manifest(large, ZP_SIGNATURE_MANIFEST_LIMIT + 1, &out, &err), -EFBIG);
        assert_int_equal(zp_signature_parse_manifest(large, ZP_SIGNATURE_MANIFEST_LIMIT, &out, &err), -EBADMSG);
        assert_int_equal(zp_signature_parse("", 0, &out, &err), -EBADMSG);
        assert_int_equal(zp_signature_parse("null", 4, &out, &err), -EBADMSG);
        assert_int_equal(zp_signature_parse("{\"version\":1}", 13, &out, &err), -EBADMSG);
        assert_int_equal(zp_signature_parse("{\"a\":\"\xff\"}", 9, &out, &err), -EBADMSG);
}

/* ---- the artifact ---- */

static void the_manifest_is_an_oci_artifact_with_the_document_in_it(void **state) {
        (void) state;
        char *text, *document;
        size_t size, document_size;
        assert_int_equal(zp_signature_format_manifest(&signature, 1234, &text, &size, &err), 0);
        assert_int_equal(zp_signature_format(&signature, &document, &document_size, &err), 0);
        zp_auto(json_decref) json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
        const char *type, *config, *layer_type, *data, *digest, *subject_type, *subject_digest, *note, *repeated;
        int config_size, layer_size, subject_size;
        assert_int_equal(json_unpack(root,
                                     "{s:i, s:s, s:s, s:{s:s, s:s, s:i, s:s}, s:[{s:s, s:s, s:i, s:s!}!], "
                                     "s:{s:s, s:s, s:i!}, s:{s:s, s:s!}!}",
                                     "schemaVersion", &(int){ 0 }, "mediaType", &type, "artifactType", &type, "config",
                                     "mediaType", &config, "digest", &digest, "size", &config_size, "data", &data,
                                     "layers", "mediaType", &layer_type, "digest", &digest, "size", &layer_size, "data",
                                     &data, "subject", "mediaType", &subject_type, "digest", &subject_digest, "size",
                                     &subject_size, "annotations", ZP_SIGNATURE_KEY_NOTE, &note, ZP_SIGNATURE_NOTE,
                                     &repeated),
                         0);
        assert_string_equal(type, "application/vnd.zeropull.signature.v1");
        assert_string_equal(config, "application/vnd.oci.empty.v1+json");
        assert_string_equal(layer_type, "application/vnd.zeropull.signature.document.v1+json");
        assert_int_equal(layer_size, document_size);
        assert_string_equal(subject_type, "application/vnd.oci.image.manifest.v1+json");
        assert_string_equal(subject_digest, HEX_A);
        assert_int_equal(subject_size, 1234);
        struct zp_digest of_document;
        char hex[ZP_DIGEST_TEXT_SIZE];
        zp_digest_of(document, document_size, &of_document);
        assert_string_equal(digest, zp_digest_text(&of_document, hex));
        assert_string_equal(note, zp_digest_text(zp_key_id(key), hex));
        /* the specification's "data": base64 of the blob; here as the openssl program writes it */
        write_file("document", document, document_size);
        OPENSSL("base64", "-A", "-in", "document", "-out", "base64");
        size_t base64_size;
        zp_autofree char *base64 = read_whole("base64", &base64_size);
        assert_string_equal(data, base64);
        assert_string_equal(repeated, base64);
        struct zp_signature again;
        assert_int_equal(zp_signature_parse_note(repeated, &again, &err), 0);
        assert_memory_equal(&again, &signature, sizeof again);
        assert_int_equal(zp_signature_parse_note("", &again, NULL), -EBADMSG);
        assert_int_equal(zp_signature_parse_note("AAAA", &again, NULL), -EBADMSG);
        free(text);
        free(document);
}

static void a_manifest_is_read_back(void **state) {
        (void) state;
        char *text;
        size_t size;
        struct zp_signature out;
        assert_int_equal(zp_signature_format_manifest(&signature, 1234, &text, &size, &err), 0);
        assert_int_equal(zp_signature_parse_manifest(text, size, &out, &err), 0);
        assert_memory_equal(&out, &signature, sizeof out);
        for (size_t cut = 0; cut < size; cut++)
                assert_true(zp_signature_parse_manifest(text, cut, &out, &err) < 0);
        free(text);
}

/* Whatever is changed in it: no other signature comes out. */
static void no_changed_manifest_gives_another_signature(void **state) {
        (void) state;
        char *text;
        size_t size;
        struct zp_signature out;
        assert_int_equal(zp_signature_format_manifest(&signature, 1234, &text, &size, &err), 0);
        for (size_t bit = 0; bit < 8 * size; bit++) {
                text[bit / 8] ^= (char) (1 << bit % 8);
                if (zp_signature_parse_manifest(text, size, &out, &err) == 0)
                        assert_memory_equal(&out, &signature, sizeof out);
                text[bit / 8] ^= (char) (1 << bit % 8);
        }
        free(text);
}

static void a_manifest_that_does_not_fit_together_is_refused(void **state) {
        (void) state;
        static const char *const changes[][2] = {
                { "zeropull.signature.v1", "zeropull.snapshot.v1" },
                { "signature.document.v1", "signature.other.v1" },
                { "\"layers\":[{", "\"layers\":[{},{" },
                { "\"layers\":[{", "\"layers\":[],\"l\":[{" },
                { "\"layers\":[{", "\"layers\":[7],\"l\":[{" },
                { "\"layers\":", "\"Layers\":1,\"layers\":" },
                { "v1+json\",\"digest\":\"sha256:", "v1+json\",\"digest\":\"sha256:0" },
                { "\"data\":\"eyJ2", "\"data\":\"eyJ3" },
                { "\"data\":\"eyJ2", "\"data\":\"eyJ2A" },
                { "\"data\":\"eyJ2", "\"data\":\"\",\"d\":\"eyJ2" },
                { "\"data\":\"eyJ2", "\"data\":\"====\",\"d\":\"eyJ2" },
                { "\"data\":\"eyJ2", "\"data\":\"=\",\"d\":\"eyJ2" },
                { "\"data\":\"eyJ2", "\"Data\":\"eyJ2" },
                { "\"subject\"", "\"object\"" },
                { HEX_A, HEX_S },
                { "\"annotations\"", "\"notes\"" },
                { "\"dev.zeropull.key\":\"sha256:", "\"dev.zeropull.key\":\"" },
                { "\"dev.zeropull.key\"", "\"dev.zeropull.key\":\"" HEX_A "\",\"x\"" },
        };
        char *text;
        size_t size;
        struct zp_signature out;
        assert_int_equal(zp_signature_format_manifest(&signature, 1234, &text, &size, &err), 0);
        for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
                /* the config has a "data" as well, in front */
                char *layers = strstr(text, "\"layers\"");
                zp_autofree char *changed = replaced(i < 1 ? text : layers, changes[i][0], changes[i][1]);
                zp_autofree char *whole = NULL;
                assert_true(asprintf(&whole, "%.*s%s", i < 1 ? 0 : (int) (layers - text), text, changed) > 0);
                zp_error_clear(&err);
                if (zp_signature_parse_manifest(whole, strlen(whole), &out, &err) != -EBADMSG)
                        fail_msg("'%s' for '%s': %s", changes[i][1], changes[i][0], err.message);
                assert_true(err.message[0] != '\0');
        }
        free(text);
}

int main(void) {
#define IN_DIRECTORY(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
        const struct CMUnitTest tests[] = {
                IN_DIRECTORY(openssl_finds_it_true_over_the_documented_bytes),
                cmocka_unit_test(the_document_has_the_documented_bytes),
                cmocka_unit_test(each_bit_of_the_document_counts),
                cmocka_unit_test(each_bit_of_the_digests_counts),
                cmocka_unit_test(artifact_and_subject_cannot_change_places),
                cmocka_unit_test(only_the_key_that_signed_will_do),
                cmocka_unit_test(a_second_signature_cannot_be_made_from_the_first),
                cmocka_unit_test(another_form_of_the_document_is_refused),
                cmocka_unit_test(hostile_json_is_refused),
                IN_DIRECTORY(the_manifest_is_an_oci_artifact_with_the_document_in_it),
                cmocka_unit_test(a_manifest_is_read_back),
                cmocka_unit_test(no_changed_manifest_gives_another_signature),
                cmocka_unit_test(a_manifest_that_does_not_fit_together_is_refused),
        };
        return cmocka_run_group_tests(tests, make_group, clear_group);
}
