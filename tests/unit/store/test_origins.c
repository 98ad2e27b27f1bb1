/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the rest of a device is, and that what only its index says stays as long as images need it.
 */
#include "store-fixture.h"

static void set_origin(struct world *w, const char *image, const char *origin, int created_s) {
        sqlite3 *db = NULL;
        char sql[256];
        struct zp_digest digest = digest_of_text(image);
        snprintf(sql, sizeof sql, "UPDATE images SET origin = '%s', created_s = %d WHERE manifest_digest = x'%s'",
                 origin, created_s, hex_of(&digest));
        assert_int_equal(sqlite3_open(below(w, "zeropull.db"), &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        assert_int_equal(sqlite3_changes(db), 1);
        sqlite3_close(db);
}

static void the_newest_image_with_an_origin_says_where_a_device_is(void **state) {
        struct world *w = *state;
        char *origin;
        struct zp_digest shared = device_record("shared", "1").digest, own = device_record("own", "1").digest;
        must(w, commit_layer(w->store, "shared", "1", &w->err));
        must(w, commit_layer(w->store, "own", "1", &w->err));
        must(w, commit_image(w->store, "old", "1", NULL, (const char *const[]){ "shared", NULL }, &w->err));
        must(w, commit_image(w->store, "new", "1", NULL, (const char *const[]){ "shared", NULL }, &w->err));
        must(w, commit_image(w->store, "built", "1", NULL, (const char *const[]){ "shared", "own", NULL }, &w->err));
        assert_int_equal(zp_store_find_device_origin(w->store, &shared, &origin, &w->err), 0);
        assert_null(origin);
        set_origin(w, "old", "docker://example.com/old", 1000);
        set_origin(w, "new", "docker://example.com/new", 2000);
        assert_int_equal(zp_store_find_device_origin(w->store, &shared, &origin, &w->err), 1);
        assert_string_equal(origin, "docker://example.com/new");
        free(origin);
        assert_int_equal(zp_store_find_device_origin(w->store, &own, &origin, &w->err), 0);
        own = digest_of_text("unknown");
        assert_int_equal(zp_store_find_device_origin(w->store, &own, &origin, &w->err), 0);
}

static void a_device_of_no_mounted_image_is_not_mounted(void **state) {
        struct world *w = *state;
        struct zp_digest device = device_record("layer", "1").digest;
        must(w, commit_layer(w->store, "layer", "1", &w->err));
        must(w, commit_image(w->store, "image", "1", NULL, (const char *const[]){ "layer", NULL }, &w->err));
        assert_int_equal(zp_store_device_is_mounted(w->store, &device, &w->err), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(the_newest_image_with_an_origin_says_where_a_device_is),
                world_test(a_device_of_no_mounted_image_is_not_mounted),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
