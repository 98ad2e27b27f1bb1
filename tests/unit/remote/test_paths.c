/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "remote/paths.h"

#define EMPTY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void blobs_stand_where_an_oci_layout_has_them(void **state) {
        (void) state;
        struct zp_digest digest;
        char path[ZP_REMOTE_BLOB_PATH_SIZE];
        zp_digest_of("", 0, &digest);
        assert_string_equal(zp_remote_blob_path(&digest, path), "blobs/sha256/" EMPTY);
}

static void only_media_types_become_folders(void **state) {
        (void) state;
        struct zp_digest digest;
        char *path = NULL;
        zp_digest_of("", 0, &digest);
        assert_int_equal(zp_remote_referrers_path(&digest, "application/vnd.x.y-1+json", &path, NULL), 0);
        assert_string_equal(path, "referrers/" EMPTY "/application/vnd.x.y-1+json");
        free(path);
        static const char *const types[] = {
                "", "a", "a/", "/a", "../..", "a/..", "a/.b", "a/b/c", "a/b ", "a/b\n", "a//b", "a/b;c=d", "\xc3\xbc/a",
        };
        for (size_t i = 0; i < sizeof types / sizeof *types; i++)
                assert_int_equal(zp_remote_referrers_path(&digest, types[i], &path, NULL), -EINVAL);
}

static const char *name_of(char fill, char name[65]) {
        memset(name, fill, 64);
        name[64] = '\0';
        return name;
}

static void artifacts_come_oldest_first(void **state) {
        (void) state;
        struct zp_remote_entries list = { 0 };
        struct zp_remote_artifact *found;
        size_t count;
        char name[65];
        assert_int_equal(zp_remote_entries_add(&list, name_of('c', name), 3, 20, NULL), 0);
        assert_int_equal(zp_remote_entries_add(&list, name_of('b', name), 2, 30, NULL), 0);
        assert_int_equal(zp_remote_entries_add(&list, name_of('a', name), 1, 20, NULL), 0);
        assert_int_equal(zp_remote_entries_artifacts(&list, "a/b", &found, &count, NULL), 0);
        assert_int_equal(count, 3);
        assert_int_equal(found[0].manifest.size, 1);
        assert_int_equal(found[1].manifest.size, 3);
        assert_int_equal(found[2].manifest.size, 2);
        assert_int_equal(found[2].manifest.digest.bytes[31], 0xbb);
        assert_string_equal(found[0].artifact_type, "a/b");
        assert_string_equal(found[0].manifest.media_type, "application/vnd.oci.image.manifest.v1+json");
        zp_remote_artifacts_free(found, count);
        zp_remote_entries_clear(&list);
}

static void strange_names_are_ignored_and_numbers_limited(void **state) {
        (void) state;
        struct zp_remote_entries list = { 0 };
        char name[65];
        assert_int_equal(zp_remote_entries_add(&list, "README", 1, 1, NULL), 0);
        assert_int_equal(zp_remote_entries_add(&list, name_of('A', name), 1, 1, NULL), 0);
        assert_int_equal(list.count, 0);
        name_of('a', name);
        for (int i = 0; i < ZP_REMOTE_ARTIFACTS_MAX; i++)
                assert_int_equal(zp_remote_entries_add(&list, name, 1, 1, NULL), 0);
        assert_int_equal(zp_remote_entries_add(&list, name, 1, 1, NULL), -EFBIG);
        zp_remote_entries_clear(&list);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(blobs_stand_where_an_oci_layout_has_them),
                cmocka_unit_test(only_media_types_become_folders),
                cmocka_unit_test(artifacts_come_oldest_first),
                cmocka_unit_test(strange_names_are_ignored_and_numbers_limited),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
