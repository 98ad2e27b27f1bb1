/* SPDX-License-Identifier: Apache-2.0
 *
 * Which blobs of layers were read here, and from where.
 */
#include "store-fixture.h"

static struct zp_blob_record blob_of(const char *repository, const char *blob, uint64_t size, const char *diff_id) {
        return (struct zp_blob_record){ repository, digest_of_text(blob), size, digest_of_text(diff_id) };
}

static void a_blob_counts_as_it_was_read(void **state) {
        struct world *w = *state;
        const struct zp_blob_record read = blob_of("example.com/a", "blob", 7, "diff");
        const struct zp_blob_record others[] = {
                blob_of("example.com/b", "blob", 7, "diff"),
                blob_of("example.com/a", "other", 7, "diff"),
                blob_of("example.com/a", "blob", 8, "diff"),
                blob_of("example.com/a", "blob", 7, "other"),
        };
        assert_int_equal(zp_store_has_blob(w->store, &read, &w->err), 0);
        must(w, zp_store_note_blob(w->store, &read, &w->err));
        must(w, zp_store_note_blob(w->store, &read, &w->err));
        assert_int_equal(zp_store_has_blob(w->store, &read, &w->err), 1);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
                assert_int_equal(zp_store_has_blob(w->store, &others[i], &w->err), 0);
}

static void pruning_keeps_those_of_layers_that_are_left(void **state) {
        struct world *w = *state;
        struct zp_layer_record used = layer_record("used", "1"), unused = layer_record("unused", "1");
        struct zp_blob_record kept = { "example.com/a", digest_of_text("one"), 1, used.diff_id };
        struct zp_blob_record gone = { "example.com/a", digest_of_text("two"), 1, unused.diff_id };
        struct zp_prune_result result;
        must(w, commit_layer(w->store, "used", "1", &w->err));
        must(w, commit_layer(w->store, "unused", "1", &w->err));
        must(w, commit_image(w->store, "image", "1", NULL, (const char *const[]){ "used", NULL }, &w->err));
        must(w, zp_store_note_blob(w->store, &kept, &w->err));
        must(w, zp_store_note_blob(w->store, &gone, &w->err));
        must(w, zp_store_prune(w->store, true, &result, &w->err));
        assert_int_equal(zp_store_has_blob(w->store, &gone, &w->err), 1);
        must(w, zp_store_prune(w->store, false, &result, &w->err));
        assert_int_equal(zp_store_has_blob(w->store, &gone, &w->err), 0);
        assert_int_equal(zp_store_has_blob(w->store, &kept, &w->err), 1);
}

static void run_on(struct world *w, const char *sql) {
        sqlite3 *db = NULL;
        assert_int_equal(sqlite3_open(below(w, "zeropull.db"), &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        sqlite3_close(db);
}

static void a_store_of_version_1_becomes_one_of_version_2(void **state) {
        struct world *w = *state;
        const struct zp_blob_record blob = blob_of("example.com/a", "blob", 7, "diff");
        must(w, commit_layer(w->store, "layer", "1", &w->err));
        zp_store_close(w->store);
        w->store = NULL;
        run_on(w, "DROP TABLE blobs; PRAGMA user_version = 1");
        struct zp_store *reader = NULL;
        must(w, zp_store_open(w->path, ZP_STORE_READ, &reader, &w->err));
        zp_store_close(reader);
        for (int i = 0; i < 2; i++) {
                must(w, zp_store_open(w->path, ZP_STORE_WRITE, &w->store, &w->err));
                assert_int_equal(zp_store_has_blob(w->store, &blob, &w->err), i);
                must(w, zp_store_note_blob(w->store, &blob, &w->err));
                assert_whole(w);
                zp_store_close(w->store);
                w->store = NULL;
        }
        must(w, zp_store_open(w->path, ZP_STORE_WRITE, &w->store, &w->err));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(a_blob_counts_as_it_was_read),
                world_test(pruning_keeps_those_of_layers_that_are_left),
                world_test(a_store_of_version_1_becomes_one_of_version_2),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
