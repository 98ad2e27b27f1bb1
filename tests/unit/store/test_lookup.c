/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding an image by what a person types.
 */
#include "store-fixture.h"

static const char *const none[] = { NULL };

/* -ENOENT and the like, or 0 when the text finds the image called `name`. */
static int finds(struct world *w, const char *text, const char *name) {
        struct zp_image_record image = { 0 };
        int r = zp_store_lookup_image(w->store, text, &image, &w->err);
        if (r < 0)
                return r;
        struct zp_digest expected = digest_of_text(name);
        assert_true(zp_digest_equal(&image.manifest_digest, &expected));
        zp_image_record_clear(&image);
        return 0;
}

static void parts_that_docker_fills_in_may_be_left_out(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "i", "1", "docker://docker.io/library/busybox:latest", none, &w->err));
        assert_int_equal(finds(w, "docker://docker.io/library/busybox:latest", "i"), 0);
        assert_int_equal(finds(w, "docker://busybox", "i"), 0);
        assert_int_equal(finds(w, "docker.io/library/busybox", "i"), 0);
        assert_int_equal(finds(w, "library/busybox:latest", "i"), 0);
        assert_int_equal(finds(w, "busybox:latest", "i"), 0);
        assert_int_equal(finds(w, "busybox", "i"), 0);
        assert_int_equal(finds(w, "busybox:1", "i"), -ENOENT);
        assert_int_equal(finds(w, "quay.io/library/busybox", "i"), -ENOENT);
}

static void other_registries_keep_their_host_and_port(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "i", "1", "docker://localhost:5000/team/app:v2", none, &w->err));
        assert_int_equal(finds(w, "localhost:5000/team/app:v2", "i"), 0);
        assert_int_equal(finds(w, "team/app:v2", "i"), -ENOENT);
        assert_int_equal(finds(w, "localhost:5000/team/app", "i"), -ENOENT);
}

static void other_sources_are_found_as_built(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "i", "1", "oci:/srv/images/app:v1", none, &w->err));
        assert_int_equal(finds(w, "oci:/srv/images/app:v1", "i"), 0);
        assert_int_equal(finds(w, "oci:/srv/images/app:v2", "i"), -ENOENT);
}

static void digest_and_its_beginning_are_enough(void **state) {
        struct world *w = *state;
        struct zp_digest digest = digest_of_text("i");
        char text[ZP_DIGEST_TEXT_SIZE], hex[ZP_SHA256_HEX_SIZE];
        must(w, commit_image(w->store, "i", "1", NULL, none, &w->err));
        zp_digest_text(&digest, text);
        zp_digest_hex(&digest, hex);
        assert_int_equal(finds(w, text, "i"), 0);
        assert_int_equal(finds(w, hex, "i"), 0);
        text[7 + 12] = '\0';
        assert_int_equal(finds(w, text, "i"), 0);
        hex[6] = '\0';
        assert_int_equal(finds(w, hex, "i"), 0);
        hex[5] = '\0';
        assert_int_equal(finds(w, hex, "i"), -ENOENT);
}

static void reference_with_the_images_digest_finds_it(void **state) {
        struct world *w = *state;
        struct zp_digest digest = digest_of_text("i");
        char text[128];
        must(w, commit_image(w->store, "i", "1", "docker://docker.io/library/app:v1", none, &w->err));
        snprintf(text, sizeof text, "app@sha256:%s", hex_of(&digest));
        assert_int_equal(finds(w, text, "i"), 0);
        digest.bytes[0] ^= 1;
        snprintf(text, sizeof text, "app@sha256:%s", hex_of(&digest));
        assert_int_equal(finds(w, text, "i"), -ENOENT);
}

static void beginning_of_two_digests_is_ambiguous(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "i", "1", NULL, none, &w->err));
        run_sql(w, "INSERT INTO images (manifest_digest, manifest_media_type, platform, metadata_digest, metadata_size,"
                   " config_digest, image_size, created_s, fetched)"
                   " SELECT CAST(substr(manifest_digest, 1, 31) || x'ff' AS BLOB), manifest_media_type, platform,"
                   " metadata_digest, metadata_size, config_digest, image_size, created_s, fetched FROM images");
        struct zp_digest digest = digest_of_text("i");
        char hex[ZP_SHA256_HEX_SIZE];
        zp_digest_hex(&digest, hex);
        assert_int_equal(finds(w, hex, "i"), 0);
        hex[20] = '\0';
        assert_int_equal(finds(w, hex, "i"), -EEXIST);
        assert_non_null(strstr(w->err.hint, "zeropull list"));
}

static void name_wins_over_a_digests_beginning(void **state) {
        struct world *w = *state;
        struct zp_digest digest = digest_of_text("i");
        char name[128], hex[ZP_SHA256_HEX_SIZE];
        zp_digest_hex(&digest, hex);
        hex[8] = '\0';
        snprintf(name, sizeof name, "docker://docker.io/library/%s:latest", hex);
        must(w, commit_image(w->store, "i", "1", NULL, none, &w->err));
        must(w, commit_image(w->store, "named", "1", name, none, &w->err));
        assert_int_equal(finds(w, hex, "named"), 0);
}

static void nothing_found_says_where_to_look(void **state) {
        struct world *w = *state;
        static const char *const texts[] = {
                "nosuch", "", "UPPER CASE", "sha256:", "sha256:zz", "docker://", "%", "'--"
        };
        for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
                assert_int_equal(finds(w, texts[i], "i"), -ENOENT);
                assert_non_null(strstr(w->err.hint, "zeropull list"));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(parts_that_docker_fills_in_may_be_left_out),
                world_test(other_registries_keep_their_host_and_port),
                world_test(other_sources_are_found_as_built),
                world_test(digest_and_its_beginning_are_enough),
                world_test(reference_with_the_images_digest_finds_it),
                world_test(beginning_of_two_digests_is_ambiguous),
                world_test(name_wins_over_a_digests_beginning),
                world_test(nothing_found_says_where_to_look),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
