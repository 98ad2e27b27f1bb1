/* SPDX-License-Identifier: Apache-2.0
 *
 * Expected values: image-spec 1.1, Docker's schema 2, and containerd's platform matching.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/manifest.h"

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define OCI_LAYER "application/vnd.oci.image.layer.v1.tar+gzip"

#define DIGEST(c)                                                                                                     \
        "sha256:" c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c \
                c c c c c c c c c c c c c c
#define ENTRY(type, c, platform) "{\"mediaType\":\"" type "\",\"digest\":\"" DIGEST(c) "\",\"size\":7" platform "}"
#define PLATFORM(os, architecture, variant) \
        ",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" architecture "\",\"variant\":\"" variant "\"}"
#define INDEX(entries) "{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX "\",\"manifests\":[" entries "]}"
#define CONFIG_ENTRY "\"config\":" ENTRY(OCI_CONFIG, "c", "")
#define MANIFEST(layers) "{\"schemaVersion\":2," CONFIG_ENTRY ",\"layers\":[" layers "]}"

static int kind_of(const char *body, const char *media_type, enum zp_document_kind *kind) {
        return zp_document_kind(body, strlen(body), media_type, kind, NULL);
}

static void documents_are_told_apart(void **state) {
        enum zp_document_kind kind;
        (void) state;
        assert_int_equal(kind_of(INDEX(""), NULL, &kind), 0);
        assert_int_equal(kind, ZP_DOCUMENT_INDEX);
        assert_int_equal(kind_of("{\"manifests\":[]}", DOCKER_LIST "; charset=utf-8", &kind), 0);
        assert_int_equal(kind, ZP_DOCUMENT_INDEX);
        assert_int_equal(kind_of(MANIFEST(""), OCI_MANIFEST, &kind), 0);
        assert_int_equal(kind, ZP_DOCUMENT_MANIFEST);
        assert_int_equal(kind_of(MANIFEST(""), "application/octet-stream", &kind), 0);
        assert_int_equal(kind, ZP_DOCUMENT_MANIFEST);
}

static void ambiguous_documents_are_refused(void **state) {
        static const struct {
                const char *body, *media_type;
        } cases[] = {
                { "{\"manifests\":[],\"layers\":[]}", NULL },
                { "{\"manifests\":[],\"config\":{}}", OCI_INDEX },
                { "{\"mediaType\":\"" OCI_INDEX "\",\"manifests\":[]}", OCI_MANIFEST },
                { "{\"mediaType\":\"" OCI_MANIFEST "\",\"manifests\":[]}", NULL },
                { "{\"manifests\":[]}", DOCKER_MANIFEST },
                { "{\"layers\":[],\"config\":{}}", DOCKER_LIST },
                { "{\"layers\":[],\"layers\":[{}],\"config\":{}}", NULL },
                { "{\"layers\":[],\"Layers\":[{}],\"config\":{}}", NULL },       /* Go takes both for the same */
                { "{\"layers\":[],\"layer\\u017f\":[{}],\"config\":{}}", NULL }, /* and these */
                { "{\"manifests\":[],\"mediaType\":null,\"fsLayer\xc5\xbf\":[]}", NULL },
                { "{\"MANIFESTS\":[],\"layers\":[],\"config\":{}}", NULL },
                { "{\"layers\":{},\"config\":{}}", NULL },
                { "{\"mediaType\":7,\"layers\":[],\"config\":{}}", NULL },
                { "{}", NULL },
                { "[]", NULL },
                { "", NULL },
                { "{\"manifests\":[]} trailing", NULL },
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                enum zp_document_kind kind;
                if (kind_of(cases[i].body, cases[i].media_type, &kind) != -EBADMSG)
                        fail_msg("%s was not refused", cases[i].body);
        }
}

static void obsolete_and_foreign_documents_are_not_supported(void **state) {
        enum zp_document_kind kind;
        (void) state;
        assert_int_equal(kind_of("{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, &kind), -ENOTSUP);
        assert_int_equal(kind_of("{}", "application/vnd.docker.distribution.manifest.v1+prettyjws", &kind), -ENOTSUP);
        assert_int_equal(kind_of("{\"mediaType\":\"application/vnd.example+json\",\"layers\":[]}", NULL, &kind),
                         -ENOTSUP);
}

static void json_is_bounded_before_it_is_parsed(void **state) {
        enum zp_document_kind kind;
        (void) state;
        zp_autobuffer struct zp_buffer deep = { 0 }, wide = { 0 };
        zp_buffer_text(&deep, "{\"a\":");
        for (int i = 0; i < ZP_LIMIT_JSON_DEPTH; i++)
                zp_buffer_text(&deep, "[");
        assert_int_equal(kind_of(deep.data, NULL, &kind), -EBADMSG);
        zp_buffer_text(&wide, "{\"manifests\":[1");
        for (int i = 0; i < 1000000; i++)
                zp_buffer_text(&wide, ",1");
        zp_buffer_text(&wide, "]}");
        assert_int_equal(kind_of(wide.data, NULL, &kind), -EBADMSG);
        char *large = calloc(1, ZP_LIMIT_JSON_SIZE + 1);
        assert_int_equal(zp_document_kind(large, ZP_LIMIT_JSON_SIZE + 1, NULL, &kind, NULL), -EFBIG);
        free(large);
}

/* The repeated digit of the digest that is selected, or '-' when none is. */
static char select_for(const char *index, const char *platform_text) {
        struct zp_platform platform;
        struct zp_descriptor descriptor;
        struct zp_error err = { 0 };
        char text[ZP_DIGEST_TEXT_SIZE];
        assert_int_equal(zp_platform_parse(platform_text, &platform, NULL), 0);
        int r = zp_index_select(index, strlen(index), &platform, &descriptor, &err);
        if (r == -ENOENT)
                return '-';
        if (r != 0)
                fail_msg("%s", err.message);
        free(descriptor.media_type);
        return zp_digest_text(&descriptor.digest, text)[7];
}

static void the_platform_is_selected_with_its_variant(void **state) {
        static const char index[] = INDEX(
                ENTRY(OCI_MANIFEST, "1", PLATFORM("linux", "amd64", "")) "," ENTRY(OCI_MANIFEST, "2", PLATFORM("linux", "arm", "v5")) "," ENTRY(
                        OCI_MANIFEST, "3",
                        PLATFORM(
                                "linux", "arm",
                                "v7")) "," ENTRY(OCI_MANIFEST, "4",
                                                 PLATFORM(
                                                         "linux",
                                                         "arm64",
                                                         "v8")) "," ENTRY(OCI_MANIFEST, "5",
                                                                          PLATFORM(
                                                                                  "windows",
                                                                                  "amd64",
                                                                                  "")) "," ENTRY(OCI_MANIFEST, "6",
                                                                                                 PLATFORM(
                                                                                                         "linux",
                                                                                                         "amd64",
                                                                                                         "v3")) "," ENTRY(OCI_MANIFEST,
                                                                                                                          "7",
                                                                                                                          PLATFORM(
                                                                                                                                  "linux",
                                                                                                                                  "s390x",
                                                                                                                                  "")) "," ENTRY(OCI_MANIFEST,
                                                                                                                                                 "8",
                                                                                                                                                 PLATFORM(
                                                                                                                                                         "linux",
                                                                                                                                                         "amd64",
                                                                                                                                                         "")));
        (void) state;
        assert_int_equal(select_for(index, "linux/amd64"), '1'); /* the first of equals */
        assert_int_equal(select_for(index, "linux/x86_64"), '1');
        assert_int_equal(select_for(index, "linux/amd64/v2"), '1');
        assert_int_equal(select_for(index, "linux/amd64/v3"), '6');
        assert_int_equal(select_for(index, "linux/amd64/v4"), '6');
        assert_int_equal(select_for(index, "linux/arm"), '3');
        assert_int_equal(select_for(index, "linux/arm/v8"), '3');
        assert_int_equal(select_for(index, "linux/arm/v6"), '2');
        assert_int_equal(select_for(index, "linux/arm64"), '4');
        assert_int_equal(select_for(index, "linux/aarch64/v8"), '4');
        assert_int_equal(select_for(index, "linux/arm64/v9"), '4');
        assert_int_equal(select_for(index, "windows/amd64"), '5');
        assert_int_equal(select_for(index, "linux/s390x"), '7');
        assert_int_equal(select_for(index, "linux/riscv64"), '-');
}

static void attestations_and_artifacts_are_skipped(void **state) {
        (void) state;
        assert_int_equal(select_for(INDEX(ENTRY(OCI_MANIFEST, "1", PLATFORM("unknown", "unknown", "")) "," ENTRY(
                                            "application/vnd.example", "2",
                                            PLATFORM("linux", "amd64", "")) "," ENTRY(OCI_MANIFEST, "3",
                                                                                      PLATFORM("linux", "amd64", ""))),
                                    "linux/amd64"),
                         '3');
        assert_int_equal(select_for(INDEX(ENTRY(OCI_MANIFEST, "1", PLATFORM("unknown", "unknown", ""))), "linux/amd64"),
                         '-');
}

static void an_entry_with_half_a_platform_spoils_no_other(void **state) {
        (void) state;
        assert_int_equal(
                select_for(INDEX(ENTRY(OCI_MANIFEST, "1", ",\"platform\":{}") "," ENTRY(
                                   OCI_MANIFEST, "2",
                                   ",\"platform\":{\"os\":\"linux\"}") "," ENTRY(OCI_MANIFEST, "3",
                                                                                 PLATFORM("linux", "amd64", ""))),
                           "linux/amd64"),
                '3');
}

static void an_entry_without_platform_is_taken_when_it_is_the_only_hope(void **state) {
        (void) state;
        assert_int_equal(select_for(INDEX(ENTRY(OCI_MANIFEST, "1", "")), "linux/amd64"), '1');
        assert_int_equal(select_for(INDEX(ENTRY(OCI_INDEX, "1", "") "," ENTRY(OCI_MANIFEST, "2",
                                                                              PLATFORM("linux", "arm64", ""))),
                                    "linux/arm64"),
                         '2');
        assert_int_equal(
                select_for(INDEX(ENTRY(OCI_MANIFEST, "1", "") "," ENTRY(OCI_MANIFEST, "2", "")), "linux/amd64"), '-');
}

static void a_missing_platform_names_what_there_is(void **state) {
        static const char index[] = INDEX(ENTRY(OCI_MANIFEST, "1", PLATFORM("linux", "amd64", "")) "," ENTRY(
                OCI_MANIFEST, "2", PLATFORM("linux", "arm64", "v8")));
        struct zp_platform platform;
        struct zp_descriptor descriptor;
        struct zp_error err = { 0 };
        (void) state;
        assert_int_equal(zp_platform_parse("linux/s390x", &platform, NULL), 0);
        assert_int_equal(zp_index_select(index, strlen(index), &platform, &descriptor, &err), -ENOENT);
        assert_non_null(strstr(err.message, "linux/s390x"));
        assert_non_null(strstr(err.message, "linux/amd64, linux/arm64"));
}

static void platforms_are_parsed_in_gos_names(void **state) {
        static const struct {
                const char *text, *expected;
        } cases[] = {
                { "linux/amd64", "linux/amd64" },       { "Linux/X86_64", "linux/amd64" },
                { "linux/arm64/v8", "linux/arm64" },    { "linux/aarch64", "linux/arm64" },
                { "linux/arm", "linux/arm/v7" },        { "linux/arm/6", "linux/arm/v6" },
                { "linux/armhf", "linux/arm/v7" },      { "linux/i386", "linux/386" },
                { "linux/amd64/v3", "linux/amd64/v3" },
        };
        static const char *const wrong[] = {
                "", "linux", "linux/", "/amd64", "a/b/c/d", "linux/a b", "linux/0123456789012345678901234567890123"
        };
        struct zp_platform platform;
        char text[100];
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                assert_int_equal(zp_platform_parse(cases[i].text, &platform, NULL), 0);
                assert_string_equal(zp_platform_text(&platform, text), cases[i].expected);
        }
        for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
                assert_int_equal(zp_platform_parse(wrong[i], &platform, NULL), -EINVAL);
        platform = zp_platform_host();
        assert_string_equal(platform.os, "linux");
        assert_true(platform.architecture[0]);
}

static int parse_manifest(const char *body, uint16_t *count) {
        struct zp_descriptor config, *layers;
        int r = zp_manifest_parse(body, strlen(body), &config, &layers, count, NULL);
        if (r < 0)
                return r;
        assert_string_equal(config.media_type, OCI_CONFIG);
        assert_int_equal(config.size, 7);
        for (unsigned i = 0; i < *count; i++)
                free(layers[i].media_type);
        free(layers);
        free(config.media_type);
        return 0;
}

static void manifests_give_config_and_layers(void **state) {
        uint16_t count;
        (void) state;
        assert_int_equal(parse_manifest(MANIFEST(""), &count), 0);
        assert_int_equal(count, 0);
        assert_int_equal(parse_manifest(MANIFEST(ENTRY(OCI_LAYER, "1", ",\"urls\":[\"https://x\"]") "," ENTRY(
                                                "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "2", "")),
                                        &count),
                         0);
        assert_int_equal(count, 2);
}

static void manifests_that_are_not_images_are_refused(void **state) {
        static const struct {
                const char *body;
                int expected;
        } cases[] = {
                { "{\"config\":" ENTRY("application/vnd.oci.empty.v1+json", "c", "") ",\"layers\":[]}", -ENOTSUP },
                { MANIFEST(ENTRY("application/vnd.example", "1", "")), -ENOTSUP },
                { MANIFEST(ENTRY(OCI_LAYER "+encrypted", "1", "")), -ENOTSUP },
                { MANIFEST("{}"), -EBADMSG },
                { MANIFEST("7"), -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"sha256:zz\",\"size\":1}"), -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"" DIGEST("1") "\",\"size\":-1}"), -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"" DIGEST("1") "\",\"size\":1.0}"), -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"" DIGEST("1") "\",\"size\":\"1\"}"),
                  -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"" DIGEST("1") "\",\"size\":1e30}"),
                  -EBADMSG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER "\",\"digest\":\"sha512:" DIGEST("1") "\",\"size\":1}"),
                  -ENOTSUP },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER
                           "\",\"digest\":\"" DIGEST("1") "\",\"size\":9223372036854775807}"),
                  -EFBIG },
                { MANIFEST("{\"mediaType\":\"" OCI_LAYER
                           "\",\"digest\":\"" DIGEST("1") "\",\"size\":9223372036854775808}"),
                  -EBADMSG },
                { "{" CONFIG_ENTRY "}", -EBADMSG },
                { INDEX(""), -EBADMSG },
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                uint16_t count;
                int r = parse_manifest(cases[i].body, &count);
                if (r != cases[i].expected)
                        fail_msg("%s: %d", cases[i].body, r);
        }
}

static void more_layers_than_the_limit_are_refused(void **state) {
        (void) state;
        for (int n = ZP_LIMIT_LAYERS; n <= ZP_LIMIT_LAYERS + 1; n++) {
                zp_autobuffer struct zp_buffer body = { 0 };
                uint16_t count;
                zp_buffer_text(&body, "{" CONFIG_ENTRY ",\"layers\":[");
                for (int i = 0; i < n; i++) {
                        zp_buffer_text(&body, i ? "," : "");
                        zp_buffer_text(&body, ENTRY(OCI_LAYER, "1", ""));
                }
                zp_buffer_text(&body, "]}");
                assert_int_equal(parse_manifest(body.data, &count), n > ZP_LIMIT_LAYERS ? -EFBIG : 0);
        }
}

static void configs_give_platform_and_diff_ids(void **state) {
        static const char body[] =
                "{\"os\":\"linux\",\"architecture\":\"arm64\",\"variant\":\"v8\",\"rootfs\":{\"type\":"
                "\"layers\",\"diff_ids\":[\"" DIGEST("1") "\",\"" DIGEST("2") "\"]}}";
        struct zp_platform platform;
        struct zp_digest *diff_ids;
        uint16_t count;
        char text[100];
        (void) state;
        assert_int_equal(zp_config_parse(body, strlen(body), &platform, &diff_ids, &count, NULL), 0);
        assert_int_equal(count, 2);
        assert_string_equal(zp_digest_text(&diff_ids[1], text), DIGEST("2"));
        assert_string_equal(zp_platform_text(&platform, text), "linux/arm64");
        free(diff_ids);
}

static void malformed_configs_are_refused(void **state) {
        static const char *const cases[] = {
                "{\"os\":\"linux\",\"architecture\":\"arm64\"}",
                "{\"os\":7,\"rootfs\":{\"diff_ids\":[]}}",
                "{\"os\":\"linux\",\"rootfs\":[]}",
                "{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[7]}}",
                "{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":[\"sha256:1\"]}}",
                "{\"os\":\"linux\",\"rootfs\":{\"diff_ids\":{}}}",
                "{\"os\":\"0123456789012345678901234567890123\",\"rootfs\":{\"diff_ids\":[]}}",
                "null",
        };
        (void) state;
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct zp_platform platform;
                struct zp_digest *diff_ids;
                uint16_t count;
                if (zp_config_parse(cases[i], strlen(cases[i]), &platform, &diff_ids, &count, NULL) != -EBADMSG)
                        fail_msg("%s was not refused", cases[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(documents_are_told_apart),
                cmocka_unit_test(ambiguous_documents_are_refused),
                cmocka_unit_test(obsolete_and_foreign_documents_are_not_supported),
                cmocka_unit_test(json_is_bounded_before_it_is_parsed),
                cmocka_unit_test(the_platform_is_selected_with_its_variant),
                cmocka_unit_test(attestations_and_artifacts_are_skipped),
                cmocka_unit_test(an_entry_with_half_a_platform_spoils_no_other),
                cmocka_unit_test(an_entry_without_platform_is_taken_when_it_is_the_only_hope),
                cmocka_unit_test(a_missing_platform_names_what_there_is),
                cmocka_unit_test(platforms_are_parsed_in_gos_names),
                cmocka_unit_test(manifests_give_config_and_layers),
                cmocka_unit_test(manifests_that_are_not_images_are_refused),
                cmocka_unit_test(more_layers_than_the_limit_are_refused),
                cmocka_unit_test(configs_give_platform_and_diff_ids),
                cmocka_unit_test(malformed_configs_are_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
