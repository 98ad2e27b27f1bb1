/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers and images become part of the store whole or not at all, one after the other or side by side.
 */
#include <errno.h>
#include <sys/file.h>

#include "store-fixture.h"

static void layer_comes_back_as_recorded(void **state) {
        struct world *w = *state;
        struct zp_layer_record expected = layer_record("a", "1"), actual = { 0 };
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(zp_store_find_layer(w->store, &expected.metadata_digest, NULL, &actual, &w->err), 1);
        assert_memory_equal(&actual, &expected, sizeof expected);
        assert_whole(w);
}

static void device_comes_back_as_recorded(void **state) {
        struct world *w = *state;
        struct zp_device_record expected = device_record("a", "1"), actual;
        must(w, put_device(w->store, "a", "1", &expected, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &expected.digest, &actual, &w->err), 1);
        assert_memory_equal(&actual, &expected, sizeof expected);
        expected.pack_digest = digest_of_text(layer_texts("a", "1").pack);
        expected.has_pack_digest = true;
        must(w, put_device(w->store, "a", "1", &expected, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &expected.digest, &actual, &w->err), 1);
        assert_memory_equal(&actual, &expected, sizeof expected);
        assert_whole(w);
}

static void image_comes_back_as_recorded(void **state) {
        struct world *w = *state;
        struct zp_image_record image = { 0 };
        struct zp_digest digest = digest_of_text("i"), a = layer_record("a", "1").metadata_digest,
                         b = layer_record("b", "1").metadata_digest, diff_id = digest_of_text("b");
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_layer(w->store, "b", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", "oci:/x:y", (const char *[]){ "b", "a", "b", NULL }, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &digest, &image, &w->err), 1);
        assert_int_equal(image.layer_count, 3);
        assert_true(zp_digest_equal(&image.layers[0], &b) && zp_digest_equal(&image.layers[1], &a) &&
                    zp_digest_equal(&image.layers[2], &b));
        assert_true(zp_digest_equal(&image.diff_ids[2], &diff_id));
        assert_null(image.origin);
        assert_false(image.has_artifact_digest);
        assert_string_equal(image.names[0], "oci:/x:y");
        assert_null(image.names[1]);
        assert_string_equal(image.platform, "linux/amd64");
        assert_string_equal(image.manifest_media_type, "application/vnd.oci.image.manifest.v1+json");
        assert_int_equal(image.image_size, 12345);
        assert_int_equal(image.created_s, 1700000000);
        zp_image_record_clear(&image);
        assert_whole(w);
}

static void what_is_not_there_is_not_found(void **state) {
        struct world *w = *state;
        assert_false(has_layer(w, "a"));
        assert_false(has_image(w, "i"));
}

static void image_without_layers_is_possible(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "scratch", "1", NULL, (const char *[]){ NULL }, &w->err));
        assert_whole(w);
}

static void file_of_another_size_than_recorded_is_refused(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        struct zp_device_record record = device_record("a", "1");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "device.zst", "short", &w->err));
        must(w, put_file(staging, "device.idx", layer_texts("a", "1").index, &w->err));
        assert_int_equal(zp_staging_commit_device(staging, &record, &w->err), -EINVAL);
        zp_staging_free(staging);
        assert_whole(w);
}

static void missing_file_is_refused(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        struct zp_layer_record record = layer_record("a", "1");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        assert_int_equal(zp_staging_commit_layer(staging, &record, &w->err), -ENOENT);
        zp_staging_free(staging);
        assert_whole(w);
}

static void scratch_files_do_not_come_along(void **state) {
        struct world *w = *state;
        struct zp_staging *staging = NULL;
        struct zp_device_record record = device_record("a", "1");
        struct layer_texts t = layer_texts("a", "1");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "device.zst", t.pack, &w->err));
        must(w, put_file(staging, "device.idx", t.index, &w->err));
        must(w, put_file(staging, "device.map", "map", &w->err));
        must(w, put_file(staging, "scratch", "x", &w->err));
        must(w, zp_staging_commit_device(staging, &record, &w->err));
        zp_staging_free(staging);
        assert_int_equal(count_entries(below(w, "devices/%s", hex_of(&record.digest))), 3);
}

static void layer_needs_its_devices(void **state) {
        struct world *w = *state;
        struct zp_layer_record record = layer_record("a", "1");
        assert_int_equal(put_layer_only(w->store, "a", "1", &record, &w->err), -EAGAIN);
        assert_non_null(strstr(w->err.message, "no longer in the store"));
        assert_whole(w);
}

static void same_again_replaces_damaged_files_and_keeps_images(void **state) {
        struct world *w = *state;
        struct zp_digest device = device_record("a", "1").digest, layer = layer_record("a", "1").metadata_digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        assert_int_equal(truncate(below(w, "devices/%s/device.idx", hex_of(&device)), 0), 0);
        assert_int_equal(unlink(below(w, "devices/%s/device.zst", hex_of(&device))), 0);
        assert_int_equal(truncate(below(w, "layers/%s/layer.erofs", hex_of(&layer)), 0), 0);
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_true(has_image(w, "i"));
        assert_whole(w);
}

static void another_conversion_of_a_layer_lies_beside_the_first(void **state) {
        struct world *w = *state;
        struct zp_layer_record found;
        struct zp_digest diff_id = digest_of_text("a"), first = layer_record("a", "1").metadata_digest;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        must(w, commit_layer(w->store, "a", "2", &w->err));
        assert_int_equal(zp_store_find_layer(w->store, &first, &diff_id, &found, &w->err), 1);
        assert_true(has_image(w, "i"));
        assert_int_equal(count_entries(below(w, "layers")), 2);
        assert_whole(w);
}

/* As two tars that differ only in padding become the same file system. */
static void different_tars_may_become_the_same_layer(void **state) {
        struct world *w = *state;
        struct zp_layer_record one = layer_record("a", "1"), other = one, found;
        other.diff_id = digest_of_text("a with padding");
        other.tar_size = 20480;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, put_layer_only(w->store, "a", "1", &other, &w->err));
        assert_int_equal(zp_store_find_layer(w->store, &one.metadata_digest, &one.diff_id, &found, &w->err), 1);
        assert_memory_equal(&found, &one, sizeof one);
        assert_int_equal(zp_store_find_layer(w->store, &one.metadata_digest, &other.diff_id, &found, &w->err), 1);
        assert_memory_equal(&found, &other, sizeof other);
        assert_whole(w);
}

static int find_built(struct world *w, const char *recipe, uint32_t frame_size, int level) {
        struct zp_layer_record found;
        struct zp_digest diff_id = digest_of_text("a");
        int r = zp_store_find_built_layer(w->store, &diff_id, recipe, frame_size, level, &found, &w->err);
        assert_true(r >= 0);
        return r;
}

static void built_layer_is_found_by_all_that_made_it(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(find_built(w, "", 524288, 7), 1);
        assert_int_equal(find_built(w, "other", 524288, 7), 0);
        assert_int_equal(find_built(w, "", 262144, 7), 0);
        assert_int_equal(find_built(w, "", 524288, 0), 0);
        struct zp_layer_record by_recipe = layer_record("a", "1");
        strcpy(by_recipe.recipe, "other");
        must(w, put_layer_only(w->store, "a", "1", &by_recipe, &w->err));
        assert_int_equal(find_built(w, "other", 524288, 7), 1);
        assert_int_equal(find_built(w, "", 524288, 7), 1);
        assert_whole(w);
}

static void layer_without_devices_is_found_however_it_would_be_packed(void **state) {
        struct world *w = *state;
        struct zp_layer_record record = layer_record("a", "1");
        record.device_count = 0;
        must(w, put_layer_only(w->store, "a", "1", &record, &w->err));
        assert_int_equal(find_built(w, "", 4096, 19), 1);
}

static void what_others_say_counts_as_built_once_it_was_built_here(void **state) {
        struct world *w = *state;
        struct zp_device_record device = device_record("a", "1"), found;
        struct zp_layer_record layer = layer_record("a", "1");
        device.is_fetched = layer.is_fetched = true;
        device.level = 3;
        must(w, put_device(w->store, "a", "1", &device, &w->err));
        must(w, put_layer_only(w->store, "a", "1", &layer, &w->err));
        assert_int_equal(find_built(w, "", 524288, 3), 0);
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(find_built(w, "", 524288, 7), 1);
        /* and stays so */
        must(w, put_device(w->store, "a", "1", &device, &w->err));
        must(w, put_layer_only(w->store, "a", "1", &layer, &w->err));
        assert_int_equal(find_built(w, "", 524288, 7), 1);
        assert_int_equal(zp_store_find_device(w->store, &device.digest, &found, &w->err), 1);
        assert_false(found.is_fetched);
        assert_int_equal(found.level, 7);
        assert_whole(w);
}

static void index_alone_takes_no_data_away(void **state) {
        struct world *w = *state;
        struct zp_device_record device = device_record("a", "1"), found;
        device.is_complete = false;
        must(w, put_device(w->store, "a", "1", &device, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &device.digest, &found, &w->err), 1);
        assert_false(found.is_complete);
        assert_whole(w);
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, put_device(w->store, "a", "1", &device, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &device.digest, &found, &w->err), 1);
        assert_true(found.is_complete);
        assert_whole(w);
}

static void image_needs_its_layers(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(commit_image(w->store, "i", "1", "oci:/x:y", (const char *[]){ "a", "b", NULL }, &w->err),
                         -EAGAIN);
        assert_non_null(strstr(w->err.message, "no longer in the store"));
        assert_false(has_image(w, "i"));
        assert_whole(w);
}

static void tag_moves_to_the_newer_image(void **state) {
        struct world *w = *state;
        struct zp_image_record image = { 0 };
        struct zp_digest old = digest_of_text("old");
        must(w, commit_image(w->store, "old", "1", "oci:/x:y", (const char *[]){ NULL }, &w->err));
        must(w, commit_image(w->store, "new", "1", "oci:/x:y", (const char *[]){ NULL }, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &old, &image, &w->err), 1);
        assert_null(image.names[0]);
        zp_image_record_clear(&image);
        must(w, zp_store_add_name(w->store, "oci:/x:y", &old, &w->err));
        must(w, zp_store_add_name(w->store, "oci:/x:z", &old, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &old, &image, &w->err), 1);
        assert_string_equal(image.names[0], "oci:/x:y");
        assert_string_equal(image.names[1], "oci:/x:z");
        zp_image_record_clear(&image);
}

static void names_are_checked(void **state) {
        struct world *w = *state;
        struct zp_digest i = digest_of_text("i"), missing = digest_of_text("missing");
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ NULL }, &w->err));
        assert_int_equal(zp_store_add_name(w->store, "", &i, &w->err), -EINVAL);
        assert_int_equal(zp_store_add_name(w->store, "a\nb", &i, &w->err), -EINVAL);
        assert_int_equal(zp_store_add_name(w->store, "a", &missing, &w->err), -ENOENT);
}

static void images_are_listed_newest_first(void **state) {
        struct world *w = *state;
        zp_autofree struct zp_image_record *images = NULL;
        size_t count = 0;
        struct zp_digest newer = digest_of_text("newer");
        must(w, commit_image(w->store, "older", "1", NULL, (const char *[]){ NULL }, &w->err));
        must(w, commit_image(w->store, "newer", "1", NULL, (const char *[]){ NULL }, &w->err));
        run_sql(w, "UPDATE images SET created_s = 1");
        char sql[256];
        snprintf(sql, sizeof sql, "UPDATE images SET created_s = 2 WHERE hex(manifest_digest) = upper('%s')",
                 hex_of(&newer));
        run_sql(w, sql);
        must(w, zp_store_list_images(w->store, &images, &count, &w->err));
        assert_int_equal(count, 2);
        assert_true(zp_digest_equal(&images[0].manifest_digest, &newer));
        for (size_t i = 0; i < count; i++)
                zp_image_record_clear(&images[i]);
}

/* Each process builds the same image, looking under the lock whether another was faster. A file that each
 * appends to counts how often the work was done. */
static int build_once(struct world *w, int log_fd) {
        struct zp_store *store = NULL;
        struct zp_layer_record layer;
        struct zp_digest image = digest_of_text("i"), a = layer_record("a", "1").metadata_digest;
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        int r = zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err);
        /* Its own key: commit_layer and commit_image take the locks on theirs. */
        struct zp_digest key = digest_of_text("the image's build");
        if (r == 0)
                r = zp_store_lock(store, &key, NULL, NULL, NULL, &lock, &w->err);
        if (r < 0)
                return r;
        struct zp_image_record found = { 0 };
        r = zp_store_find_image(store, &image, &found, &w->err);
        zp_image_record_clear(&found);
        if (r != 0)
                return r < 0 ? r : 0;
        if (zp_store_find_layer(store, &a, NULL, &layer, &w->err) != 0 || write(log_fd, "x", 1) != 1)
                return -1;
        r = commit_layer(store, "a", "1", &w->err);
        return r < 0 ? r : commit_image(store, "i", "1", "oci:/x:y", (const char *[]){ "a", NULL }, &w->err);
}

static void processes_building_the_same_image_do_it_once(void **state) {
        struct world *w = *state;
        int log_fd = open(below(w, "../log"), O_CREAT | O_WRONLY | O_APPEND, 0644);
        assert_true(log_fd >= 0);
        enum { PROCESSES = 8 };
        pid_t pids[PROCESSES];
        for (int i = 0; i < PROCESSES; i++)
                if ((pids[i] = fork()) == 0)
                        _exit(build_once(w, log_fd) < 0);
        for (int i = 0; i < PROCESSES; i++) {
                int status;
                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                assert_int_equal(status, 0);
        }
        struct stat st;
        assert_int_equal(fstat(log_fd, &st), 0);
        assert_int_equal(st.st_size, 1);
        close(log_fd);
        assert_whole(w);
        assert_true(has_image(w, "i"));
}

static int commit_many(struct world *w, int number) {
        struct zp_store *store = NULL;
        char name[32], image[32];
        int r = zp_store_open(w->path, ZP_STORE_WRITE, &store, &w->err);
        for (int i = 0; r == 0 && i < 10; i++) {
                snprintf(name, sizeof name, "layer-%d-%d", number, i);
                snprintf(image, sizeof image, "image-%d-%d", number, i);
                r = commit_layer(store, name, "1", &w->err);
                if (r == 0)
                        r = commit_layer(store, "shared", number % 2 ? "1" : "2", &w->err);
                if (r == 0)
                        r = commit_image(store, image, "1", "oci:/x:y", (const char *[]){ name, NULL }, &w->err);
        }
        return r;
}

static void processes_committing_side_by_side_lose_nothing(void **state) {
        struct world *w = *state;
        enum { PROCESSES = 4 };
        pid_t pids[PROCESSES];
        for (int i = 0; i < PROCESSES; i++)
                if ((pids[i] = fork()) == 0)
                        _exit(commit_many(w, i) < 0);
        for (int i = 0; i < PROCESSES; i++) {
                int status;
                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                assert_int_equal(status, 0);
        }
        assert_whole(w);
        assert_int_equal(count_entries(below(w, "layers")), PROCESSES * 10 + 2);
        assert_int_equal(count_entries(below(w, "images")), PROCESSES * 10);
}

/* ---- batches ---- */

static void batch_appears_as_one(void **state) {
        struct world *w = *state;
        must(w, zp_store_begin_batch(w->store, &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        must(w, zp_store_end_batch(w->store, 0, &w->err));
        assert_true(has_layer(w, "a") && has_image(w, "i"));
        assert_whole(w);
}

static void batch_that_fails_leaves_nothing(void **state) {
        struct world *w = *state;
        must(w, zp_store_begin_batch(w->store, &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(zp_store_end_batch(w->store, -EIO, &w->err), -EIO);
        assert_false(has_layer(w, "a"));
        assert_whole(w);
        must(w, commit_layer(w->store, "b", "1", &w->err));
        assert_true(has_layer(w, "b"));
}

static void batch_that_fails_keeps_what_it_replaced(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, zp_store_begin_batch(w->store, &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(zp_store_end_batch(w->store, -EIO, &w->err), -EIO);
        assert_true(has_layer(w, "a"));
        assert_whole(w);
}

static void commit_that_fails_in_a_batch_makes_it_fail(void **state) {
        struct world *w = *state;
        must(w, zp_store_begin_batch(w->store, &w->err));
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_true(commit_image(w->store, "i", "1", NULL, (const char *[]){ "missing", NULL }, &w->err) < 0);
        assert_int_equal(zp_store_end_batch(w->store, 0, &w->err), -ECANCELED);
        assert_false(has_layer(w, "a") || has_image(w, "i"));
        assert_whole(w);
}

static void image_is_not_replaced_in_a_batch(void **state) {
        struct world *w = *state;
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ NULL }, &w->err));
        must(w, zp_store_begin_batch(w->store, &w->err));
        int r = commit_image(w->store, "i", "2", NULL, (const char *[]){ NULL }, &w->err);
        assert_int_equal(r, -EINVAL);
        assert_int_equal(zp_store_end_batch(w->store, r, &w->err), -EINVAL);
        assert_whole(w);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(layer_comes_back_as_recorded),
                world_test(device_comes_back_as_recorded),
                world_test(image_comes_back_as_recorded),
                world_test(what_is_not_there_is_not_found),
                world_test(image_without_layers_is_possible),
                world_test(file_of_another_size_than_recorded_is_refused),
                world_test(missing_file_is_refused),
                world_test(scratch_files_do_not_come_along),
                world_test(layer_needs_its_devices),
                world_test(same_again_replaces_damaged_files_and_keeps_images),
                world_test(another_conversion_of_a_layer_lies_beside_the_first),
                world_test(different_tars_may_become_the_same_layer),
                world_test(built_layer_is_found_by_all_that_made_it),
                world_test(layer_without_devices_is_found_however_it_would_be_packed),
                world_test(what_others_say_counts_as_built_once_it_was_built_here),
                world_test(index_alone_takes_no_data_away),
                world_test(image_needs_its_layers),
                world_test(tag_moves_to_the_newer_image),
                world_test(names_are_checked),
                world_test(images_are_listed_newest_first),
                world_test(processes_building_the_same_image_do_it_once),
                world_test(processes_committing_side_by_side_lose_nothing),
                world_test(batch_appears_as_one),
                world_test(batch_that_fails_leaves_nothing),
                world_test(batch_that_fails_keeps_what_it_replaced),
                world_test(commit_that_fails_in_a_batch_makes_it_fail),
                world_test(image_is_not_replaced_in_a_batch),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
