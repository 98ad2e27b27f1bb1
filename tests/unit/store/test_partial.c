/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices whose data comes after their index.
 */
#include <errno.h>

#include "store-fixture.h"

static struct zp_device_record put_index_only(struct world *w) {
        struct zp_device_record record = device_record("a", "1");
        record.is_complete = false;
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        return record;
}

static void append(struct world *w, const struct zp_digest *device, const char *text) {
        zp_autoclose int fd = zp_store_open_partial(w->store, device, &w->err);
        if (fd < 0)
                fail_msg("%s", w->err.message);
        assert_true(lseek(fd, 0, SEEK_END) >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void data_that_has_come_makes_the_device_complete(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w), found;
        const struct layer_texts texts = layer_texts("a", "1");
        struct zp_digest pack = digest_of_text(texts.pack);
        append(w, &record.digest, texts.pack);
        must(w, zp_store_complete_device(w->store, &record.digest, &pack, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
        assert_true(found.is_complete && found.has_pack_digest && zp_digest_equal(&found.pack_digest, &pack));
        assert_false(exists(below(w, "devices/%s/device.part", hex_of(&record.digest))));
        assert_whole(w);
}

static void data_stays_when_the_process_dies(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w);
        char text[16] = "";
        append(w, &record.digest, "half");
        world_reopen(w, ZP_STORE_WRITE);
        zp_autoclose int fd = zp_store_open_partial(w->store, &record.digest, &w->err);
        assert_int_equal(read(fd, text, sizeof text), 4);
        assert_string_equal(text, "half");
        assert_whole(w);
}

static void data_that_was_damaged_is_what_has_come_so_far(void **state) {
        struct world *w = *state;
        struct zp_device_record record = device_record("a", "1"), found;
        const struct layer_texts texts = layer_texts("a", "1");
        struct zp_digest pack = digest_of_text(texts.pack);
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        zp_autoclose int fd = zp_store_open_device_file(w->store, &record.digest, "device.zst", &w->err);
        must(w, zp_store_set_pack_aside(w->store, &record.digest, fd, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
        assert_false(found.is_complete);
        assert_false(exists(below(w, "devices/%s/device.zst", hex_of(&record.digest))));
        assert_whole(w);
        must(w, zp_store_complete_device(w->store, &record.digest, &pack, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
        assert_true(found.is_complete);
        assert_true(exists(below(w, "devices/%s/device.zst", hex_of(&record.digest))));
        assert_whole(w);
}

static void damaged_data_that_was_built_here_is_lost_until_it_is_built_again(void **state) {
        struct world *w = *state;
        struct zp_layer_record layer = layer_record("a", "1"), found_layer;
        struct zp_device_record record = device_record("a", "1"), found;
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, zp_store_note_pack(w->store, &record.digest, &record.digest, &w->err));
        zp_autoclose int fd = zp_store_open_device_file(w->store, &record.digest, "device.zst", &w->err);
        for (unsigned round = 0; round < 2; round++) {
                must(w, zp_store_give_pack_up(w->store, &record.digest, round == 0 ? fd : -1, &w->err));
                assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
                assert_true(zp_device_is_lost(&found));
                assert_int_equal(zp_store_layer_is_lost(w->store, &layer.metadata_digest, &w->err), 1);
                assert_int_equal(zp_store_find_built_layer(w->store, &layer.diff_id, "", record.frame_size,
                                                           record.level, &found_layer, &w->err),
                                 0);
                assert_whole(w);
        }
        must(w, commit_layer(w->store, "a", "1", &w->err));
        assert_int_equal(zp_store_layer_is_lost(w->store, &layer.metadata_digest, &w->err), 0);
        assert_int_equal(zp_store_find_built_layer(w->store, &layer.diff_id, "", record.frame_size, record.level,
                                                   &found_layer, &w->err),
                         1);
        assert_false(exists(below(w, "devices/%s/device.part", hex_of(&record.digest))));
        assert_whole(w);
}

static void data_that_was_made_anew_meanwhile_is_not_set_aside(void **state) {
        struct world *w = *state;
        struct zp_device_record record = device_record("a", "1"), found;
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        zp_autoclose int fd = zp_store_open_device_file(w->store, &record.digest, "device.zst", &w->err);
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        must(w, zp_store_set_pack_aside(w->store, &record.digest, fd, &w->err));
        must(w, zp_store_give_pack_up(w->store, &record.digest, fd, &w->err));
        must(w, zp_store_give_pack_up(w->store, &record.digest, -1, &w->err));
        assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
        assert_true(found.is_complete);
        assert_true(exists(below(w, "devices/%s/device.zst", hex_of(&record.digest))));
        assert_whole(w);
}

static void data_of_another_size_is_refused(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w), found;
        append(w, &record.digest, "half");
        assert_int_equal(zp_store_complete_device(w->store, &record.digest, &record.digest, &w->err), -EINVAL);
        assert_int_equal(zp_store_find_device(w->store, &record.digest, &found, &w->err), 1);
        assert_false(found.is_complete);
        assert_whole(w);
}

static void index_that_comes_again_keeps_the_data_that_has_come(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w);
        char text[16] = "";
        append(w, &record.digest, "half");
        put_index_only(w);
        zp_autoclose int fd = zp_store_open_partial(w->store, &record.digest, &w->err);
        assert_int_equal(read(fd, text, sizeof text), 4);
        assert_string_equal(text, "half");
        assert_whole(w);
}

static void data_that_comes_after_a_build_made_it_is_not_needed(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w), built = device_record("a", "1");
        append(w, &record.digest, "half");
        must(w, put_device(w->store, "a", "1", &built, &w->err));
        must(w, zp_store_complete_device(w->store, &record.digest, &record.digest, &w->err));
        assert_false(exists(below(w, "devices/%s/device.part", hex_of(&record.digest))));
        assert_whole(w);
}

static void what_is_no_file_is_not_written_to(void **state) {
        struct world *w = *state;
        struct zp_device_record record = put_index_only(w);
        assert_int_equal(symlink("/dev/null", below(w, "devices/%s/device.part", hex_of(&record.digest))), 0);
        assert_true(zp_store_open_partial(w->store, &record.digest, &w->err) < 0);
}

static void device_that_is_not_there_has_no_data(void **state) {
        struct world *w = *state;
        struct zp_digest none = digest_of_text("none");
        assert_int_equal(zp_store_open_partial(w->store, &none, &w->err), -ENOENT);
}

static void damaged_index_is_put_right_beside_the_data(void **state) {
        struct world *w = *state;
        struct zp_device_record record = device_record("a", "1");
        must(w, put_device(w->store, "a", "1", &record, &w->err));
        assert_int_equal(truncate(below(w, "devices/%s/device.idx", hex_of(&record.digest)), 0), 0);
        put_index_only(w);
        assert_whole(w);
}

static void what_a_push_found_out_is_kept(void **state) {
        struct world *w = *state;
        struct zp_digest image = digest_of_text("i"), blob = digest_of_text("blob");
        struct zp_layer_record layer = layer_record("a", "1");
        struct zp_device_record device = device_record("a", "1");
        struct zp_image_record record = { 0 };
        must(w, commit_layer(w->store, "a", "1", &w->err));
        must(w, commit_image(w->store, "i", "1", NULL, (const char *[]){ "a", NULL }, &w->err));
        must(w, zp_store_find_image(w->store, &image, &record, &w->err));
        assert_int_equal(record.blob_size, 0);
        must(w, zp_store_note_pack(w->store, &device.digest, &blob, &w->err));
        must(w, zp_store_note_layer_blob(w->store, &layer.metadata_digest, &blob, 7, &w->err));
        /* of the image as it was before */
        must(w, zp_store_note_image_blob(w->store, &image, &blob, &blob, 8, &w->err));
        struct zp_digest metadata = record.metadata_digest;
        zp_image_record_clear(&record);
        must(w, zp_store_find_image(w->store, &image, &record, &w->err));
        assert_int_equal(record.blob_size, 0);
        zp_image_record_clear(&record);
        must(w, zp_store_note_image_blob(w->store, &image, &metadata, &blob, 8, &w->err));
        must(w, zp_store_find_image(w->store, &image, &record, &w->err));
        assert_int_equal(record.blob_size, 8);
        zp_image_record_clear(&record);
        must(w, zp_store_find_layer(w->store, &layer.metadata_digest, NULL, &layer, &w->err));
        assert_int_equal(layer.blob_size, 7);
        must(w, zp_store_find_device(w->store, &device.digest, &device, &w->err));
        assert_true(device.has_pack_digest && zp_digest_equal(&device.pack_digest, &blob));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(data_that_has_come_makes_the_device_complete),
                world_test(data_stays_when_the_process_dies),
                world_test(data_that_was_damaged_is_what_has_come_so_far),
                world_test(damaged_data_that_was_built_here_is_lost_until_it_is_built_again),
                world_test(data_that_was_made_anew_meanwhile_is_not_set_aside),
                world_test(data_of_another_size_is_refused),
                world_test(index_that_comes_again_keeps_the_data_that_has_come),
                world_test(data_that_comes_after_a_build_made_it_is_not_needed),
                world_test(what_is_no_file_is_not_written_to),
                world_test(device_that_is_not_there_has_no_data),
                world_test(damaged_index_is_put_right_beside_the_data),
                world_test(what_a_push_found_out_is_kept),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
