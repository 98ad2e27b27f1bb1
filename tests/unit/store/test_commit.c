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
        assert_int_equal(zp_store_find_layer(w->store, &expected.diff_id, &actual, &w->err), 1);
        assert_memory_equal(&actual, &expected, sizeof expected);
        assert_whole(w);
}

static void image_comes_back_as_recorded(void **state) {
        struct world *w = *state;
        struct zp_image_record image = { 0 };
        struct zp_digest digest = digest_of_text("i"), a = digest_of_text("a"), b = digest_of_text("b");
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_layer(w->store, "b", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", "oci:/x:y", (const char *[]){ "b", "a", "b", NULL }, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &digest, &image, &w->err), 1);
        assert_int_equal(image.layer_count, 3);
        assert_true(zp_digest_equal(&image.diff_ids[0], &b) && zp_digest_equal(&image.diff_ids[1], &a) &&
                    zp_digest_equal(&image.diff_ids[2], &b));
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
        struct zp_layer_record record = layer_record("a", "1");
        struct layer_texts t = layer_texts("a", "1");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "layer.erofs", t.metadata, &w->err));
        must(w, put_file(staging, "device.zst", "short", &w->err));
        must(w, put_file(staging, "device.idx", t.index, &w->err));
        assert_int_equal(zp_staging_commit_layer(staging, &record, &w->err), -EINVAL);
        zp_staging_free(staging);
        assert_false(has_layer(w, "a"));
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
        struct zp_layer_record record = layer_record("a", "1");
        struct layer_texts t = layer_texts("a", "1");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "layer.erofs", t.metadata, &w->err));
        must(w, put_file(staging, "device.zst", t.pack, &w->err));
        must(w, put_file(staging, "device.idx", t.index, &w->err));
        must(w, put_file(staging, "scratch", "x", &w->err));
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        zp_staging_free(staging);
        assert_int_equal(count_entries(below(w, "layers/%s", hex_of(&record.diff_id))), 3);
}

static void same_layer_again_replaces_damaged_files_and_keeps_images(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        assert_int_equal(truncate(below(w, "layers/%s/device.idx", hex_of(&a)), 0), 0);
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_true(has_image(w, "i"));
        assert_whole(w);
}

/* "1" and "2" have different metadata: files lie elsewhere in the device. */
static void layer_with_another_device_takes_its_images_along(void **state) {
        struct world *w = *state;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_layer(w->store, "b", "1", &w->err));
        must(w, commit_image(w->store, "on-a", "1", NULL, (const char *[]){ "b", "a", NULL }, &w->err));
        must(w, commit_image(w->store, "on-b", "1", NULL, (const char *[]){ "b", NULL }, &w->err));
        must(w, commit_layer(w->store, "a", "2", &w->err));
        assert_false(has_image(w, "on-a"));
        assert_true(has_image(w, "on-b"));
        assert_whole(w);
}

/* Only the pack differs (another compression level): addresses in the device are the same. */
static void layer_with_another_pack_keeps_its_images(void **state) {
        struct world *w = *state;
        struct zp_layer_record record = layer_record("a", "1"), found;
        struct layer_texts t = layer_texts("a", "1");
        struct zp_staging *staging = NULL;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        record.pack_size = strlen("tighter");
        record.index_digest = digest_of_text("other index");
        record.index_size = strlen("other index");
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, put_file(staging, "layer.erofs", t.metadata, &w->err));
        must(w, put_file(staging, "device.zst", "tighter", &w->err));
        must(w, put_file(staging, "device.idx", "other index", &w->err));
        must(w, zp_staging_commit_layer(staging, &record, &w->err));
        zp_staging_free(staging);
        assert_true(has_image(w, "i"));
        assert_int_equal(zp_store_find_layer(w->store, &record.diff_id, &found, &w->err), 1);
        assert_int_equal(found.pack_size, record.pack_size);
        assert_whole(w);
}

static void replaced_layer_loses_its_unpacked_device(void **state) {
        struct world *w = *state;
        struct zp_digest a = digest_of_text("a");
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(close(open(below(w, "devices/%s.raw", hex_of(&a)), O_CREAT | O_WRONLY, 0644)), 0);
        must(w, commit_layer(w->store, "a", "2", &w->err));
        assert_int_equal(count_entries(below(w, "devices")), 0);
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
        struct zp_digest image = digest_of_text("i"), a = digest_of_text("a");
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
        if (zp_store_find_layer(store, &a, &layer, &w->err) != 0 || write(log_fd, "x", 1) != 1)
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
        assert_int_equal(count_entries(below(w, "layers")), PROCESSES * 10 + 1);
        assert_int_equal(count_entries(below(w, "images")), PROCESSES * 10);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(layer_comes_back_as_recorded),
                world_test(image_comes_back_as_recorded),
                world_test(what_is_not_there_is_not_found),
                world_test(image_without_layers_is_possible),
                world_test(file_of_another_size_than_recorded_is_refused),
                world_test(missing_file_is_refused),
                world_test(scratch_files_do_not_come_along),
                world_test(same_layer_again_replaces_damaged_files_and_keeps_images),
                world_test(layer_with_another_device_takes_its_images_along),
                world_test(layer_with_another_pack_keeps_its_images),
                world_test(replaced_layer_loses_its_unpacked_device),
                world_test(image_needs_its_layers),
                world_test(tag_moves_to_the_newer_image),
                world_test(names_are_checked),
                world_test(images_are_listed_newest_first),
                world_test(processes_building_the_same_image_do_it_once),
                world_test(processes_committing_side_by_side_lose_nothing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
