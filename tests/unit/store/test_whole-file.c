/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of the store read whole: what is there is compared with the digest it must have.
 */
#include "store-fixture.h"

#include "store/whole-file.h"

static struct zp_digest manifest_of_image(struct world *w) {
        must(w, commit_layer(w->store, "layer", "1", &w->err));
        must(w, commit_image(w->store, "image", "1", NULL, (const char *[]){ "layer", NULL }, &w->err));
        return digest_of_text("image");
}

static int read_config(struct world *w, const struct zp_digest *manifest, uint64_t max, const char *expected,
                       char **out, size_t *size) {
        struct zp_digest digest = digest_of_text(expected ? expected : "");
        zp_error_clear(&w->err);
        return zp_store_read_image_file(w->store, manifest, "config.json", max, expected ? &digest : NULL, out, size,
                                        &w->err);
}

static void file_of_its_digest_is_read_whole(void **state) {
        struct world *w = *state;
        const struct zp_digest manifest = manifest_of_image(w);
        static const char *const digests[] = { "config", NULL };
        for (size_t i = 0; i < 2; i++) {
                zp_autofree char *text = NULL;
                size_t size = 0;
                must(w, read_config(w, &manifest, strlen("config"), digests[i], &text, &size));
                assert_int_equal(size, strlen("config"));
                assert_string_equal(text, "config");
        }
}

static void other_digest_is_refused(void **state) {
        struct world *w = *state;
        const struct zp_digest manifest = manifest_of_image(w);
        char *text = NULL;
        size_t size = 1;
        assert_int_equal(read_config(w, &manifest, 100, "another", &text, &size), -EBADMSG);
        assert_non_null(strstr(w->err.message, "'config.json' is damaged"));
        assert_non_null(strstr(w->err.hint, "--rebuild"));
        assert_null(text);
        assert_int_equal(size, 1);
}

static void file_beyond_the_limit_is_refused(void **state) {
        struct world *w = *state;
        const struct zp_digest manifest = manifest_of_image(w);
        char *text = NULL;
        size_t size;
        assert_int_equal(read_config(w, &manifest, strlen("config") - 1, NULL, &text, &size), -EBADMSG);
        assert_null(text);
}

static void file_that_is_not_there_is_told(void **state) {
        struct world *w = *state;
        const struct zp_digest manifest = manifest_of_image(w), other = digest_of_text("other");
        char *text = NULL;
        size_t size;
        assert_int_equal(read_config(w, &other, 100, NULL, &text, &size), -ENOENT);
        assert_int_equal(zp_store_read_image_file(w->store, &manifest, "profile", 100, NULL, &text, &size, &w->err),
                         -ENOENT);
        assert_null(text);
}

static void position_of_the_descriptor_does_not_matter(void **state) {
        struct world *w = *state;
        const struct zp_digest manifest = manifest_of_image(w);
        zp_autoclose int fd = zp_store_open_image_file(w->store, &manifest, "config.json", &w->err);
        zp_autofree char *text = NULL;
        size_t size;
        assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
        must(w, zp_store_read_whole(fd, "config.json", 100, NULL, &text, &size, &w->err));
        assert_string_equal(text, "config");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(file_of_its_digest_is_read_whole),           world_test(other_digest_is_refused),
                world_test(file_beyond_the_limit_is_refused),           world_test(file_that_is_not_there_is_told),
                world_test(position_of_the_descriptor_does_not_matter),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
