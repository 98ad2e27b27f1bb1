/* SPDX-License-Identifier: Apache-2.0
 *
 * An image taken over from another store: what comes along, and what is not believed.
 */
#include <errno.h>

#include "../pack/pack-fixture.h"
#include "../store/store-fixture.h"
#include "base/buffer.h"
#include "erofs/writer.h"
#include "ship/import.h"

#define FILE_MAX 65536

/* An image of one layer without entries, whose metadata names one device. */
struct image {
        struct zp_store *store;
        struct packed pack;
        struct zp_device_record device;
        struct zp_layer_record layer;
        struct zp_image_record image;
        char manifest[1024], config[1024], metadata[FILE_MAX];
        size_t metadata_size;
};

static void write_metadata(struct world *w, struct image *i) {
        struct zp_erofs_device device = { .digest = i->device.digest, .blocks = i->device.device_size / 4096 };
        struct zp_erofs_options options = { .layout = ZP_EROFS_DEVICE_TABLE, .devices = &device, .device_count = 1 };
        zp_auto(zp_tree_free) struct zp_tree *tree = zp_tree_new();
        struct zp_erofs_result result;
        zp_autoclose int fd = temporary_file();
        must(w, zp_erofs_write(tree, &options, fd, "metadata", &result, &w->err));
        i->metadata_size = (size_t) file_size(fd);
        assert_true(i->metadata_size < sizeof i->metadata);
        must(w, zp_pread_all(fd, i->metadata, i->metadata_size, 0, "metadata", &w->err));
}

static void describe(struct image *i) {
        char config_digest[ZP_DIGEST_TEXT_SIZE], diff_id[ZP_DIGEST_TEXT_SIZE];
        i->layer = (struct zp_layer_record){ .metadata_size = i->metadata_size,
                                             .device_count = 1,
                                             .devices = { i->device.digest },
                                             .diff_id = digest_of_text("tar"),
                                             .tar_size = 1024 };
        zp_digest_of(i->metadata, i->metadata_size, &i->layer.metadata_digest);
        zp_digest_text(&i->layer.diff_id, diff_id);
        snprintf(i->config, sizeof i->config,
                 "{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\"]}}",
                 diff_id);
        i->image.config_digest = digest_of_text(i->config);
        snprintf(i->manifest, sizeof i->manifest,
                 "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\","
                 "\"digest\":\"%s\",\"size\":%zu},\"layers\":[{\"mediaType\":"
                 "\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":1024}]}",
                 zp_digest_text(&i->image.config_digest, config_digest), strlen(i->config), diff_id);
        i->image.manifest_digest = digest_of_text(i->manifest);
        i->image.manifest_media_type = (char *) "application/vnd.oci.image.manifest.v1+json";
        i->image.platform = (char *) "linux/amd64";
        i->image.metadata_digest = i->layer.metadata_digest;
        i->image.metadata_size = i->metadata_size;
        i->image.layer_count = 1;
        i->image.layers = &i->layer.metadata_digest;
        i->image.diff_ids = &i->layer.diff_id;
}

static void stage(struct world *w, struct image *i, const char *file, const void *data, size_t size,
                  struct zp_staging **staging) {
        if (!*staging)
                must(w, zp_staging_new(i->store, staging, &w->err));
        must(w, zp_staging_write(*staging, file, data, size, &w->err));
}

static void put_image(struct world *w, struct image *i) {
        zp_auto(zp_staging_free) struct zp_staging *of_device = NULL, *of_layer = NULL, *of_image = NULL;
        stage(w, i, "device.idx", i->pack.index, i->pack.info.index_size, &of_device);
        must(w, zp_staging_commit_device(of_device, &i->device, &w->err));
        stage(w, i, "layer.erofs", i->metadata, i->metadata_size, &of_layer);
        must(w, zp_staging_commit_layer(of_layer, &i->layer, &w->err));
        stage(w, i, "manifest.json", i->manifest, strlen(i->manifest), &of_image);
        stage(w, i, "config.json", i->config, strlen(i->config), &of_image);
        stage(w, i, "snapshot.erofs", i->metadata, i->metadata_size, &of_image);
        must(w, zp_staging_commit_image(of_image, &i->image, &w->err));
}

/* In a store of its own, beside the test's: its device as large as `blocks` says, if that is not 0. */
static void prepare(struct world *w, struct image *i, uint64_t blocks) {
        char path[128];
        snprintf(path, sizeof path, "%s/preload", w->directory);
        must(w, zp_store_open(path, ZP_STORE_CREATE, &i->store, &w->err));
        zp_autofree uint8_t *data = sample_device(3 * 4096);
        i->pack = pack_bytes(data, 3 * 4096, 524288, 1);
        i->device = (struct zp_device_record){ .digest = i->pack.info.index_digest,
                                               .index_size = i->pack.info.index_size,
                                               .pack_size = i->pack.info.pack_size,
                                               .device_size = blocks ? blocks * 4096 : i->pack.info.device_size,
                                               .frame_size = 524288 };
        write_metadata(w, i);
        describe(i);
        put_image(w, i);
}

static void finish(struct image *i) {
        zp_store_close(i->store);
        packed_clear(&i->pack);
}

struct reading {
        const struct image *image;
        size_t piece_max;   /* 0: as it comes */
        unsigned pieces;    /* that were asked for */
        unsigned cancel_at; /* as that many were; 0: never */
        bool shrinks;       /* it is one byte shorter from the second piece on */
        struct zp_cancel cancel;
};

static int read_file(void *context, const char *file, uint64_t offset, struct zp_import_piece *out,
                     struct zp_error *err) {
        struct reading *reading = context;
        int r = zp_import_read(zp_store_path(reading->image->store), file, offset, out, err);
        if (reading->piece_max && out->size > reading->piece_max)
                out->size = reading->piece_max;
        out->file_size -= reading->shrinks && offset > 0;
        if (++reading->pieces == reading->cancel_at)
                atomic_store(&reading->cancel.requested, true);
        return r;
}

static int import_by(struct world *w, struct image *i, struct reading *reading) {
        struct zp_import_image image;
        struct zp_import_from from = { &image, read_file, reading };
        reading->image = i;
        int r = zp_import_look(zp_store_path(i->store), &i->image.manifest_digest, &image, &w->err);
        if (r == 1 && zp_import(&from, w->store, "name", "docker://where/from", &reading->cancel, &w->err) < 0)
                r = -w->err.code;
        zp_import_image_clear(&image);
        return r;
}

static int import(struct world *w, struct image *i) {
        return import_by(w, i, &(struct reading){ 0 });
}

static bool has_come(struct world *w, const struct image *i, struct zp_image_record *out) {
        int r = zp_store_find_image(w->store, &i->image.manifest_digest, out, &w->err);
        assert_true(r >= 0);
        return r == 1;
}

static void image_comes_along_without_its_data(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        struct zp_device_record device;
        prepare(w, &i, 0);
        assert_int_equal(import(w, &i), 1);
        assert_true(has_come(w, &i, &image));
        assert_true(image.is_fetched);
        assert_string_equal(image.origin, "docker://where/from");
        assert_string_equal(image.names[0], "name");
        zp_image_record_clear(&image);
        assert_int_equal(zp_store_find_device(w->store, &i.device.digest, &device, &w->err), 1);
        assert_false(device.is_complete);
        finish(&i);
}

static void image_that_is_not_there_is_not_imported(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        prepare(w, &i, 0);
        i.image.manifest_digest = digest_of_text("another");
        assert_int_equal(import(w, &i), 0);
        finish(&i);
}

static void damaged_layer_brings_no_image(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        char path[256];
        prepare(w, &i, 0);
        snprintf(path, sizeof path, "%s/preload/layers/%s/layer.erofs", w->directory, hex_of(&i.layer.metadata_digest));
        zp_autoclose int fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, "x", 1, 2000), 1);
        assert_int_equal(import(w, &i), -EBADMSG);
        assert_false(has_come(w, &i, &image));
        finish(&i);
}

static void device_is_not_believed_to_be_larger_than_its_index_says(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        prepare(w, &i, 1000);
        assert_int_equal(import(w, &i), -EBADMSG);
        assert_false(has_come(w, &i, &image));
        finish(&i);
}

static void device_is_not_believed_to_be_larger_than_the_one_here(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        prepare(w, &i, 1000);
        i.device.device_size = i.pack.info.device_size;
        must(w, zp_staging_new(w->store, &staging, &w->err));
        must(w, zp_staging_write(staging, "device.idx", i.pack.index, i.pack.info.index_size, &w->err));
        must(w, zp_staging_commit_device(staging, &i.device, &w->err));
        assert_int_equal(import(w, &i), -EBADMSG);
        assert_false(has_come(w, &i, &image));
        finish(&i);
}

/* However long all of them take. */
static void files_come_in_pieces(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        struct reading reading = { .piece_max = 100 };
        prepare(w, &i, 0);
        assert_int_equal(import_by(w, &i, &reading), 1);
        assert_true(reading.pieces > 2 * (i.metadata_size / 100));
        assert_true(has_come(w, &i, &image));
        zp_image_record_clear(&image);
        finish(&i);
}

static void large_file_is_no_more_than_a_piece_at_once(void **state) {
        struct world *w = *state;
        const uint64_t size = 2 * ZP_IMPORT_PIECE + 5;
        struct zp_import_piece piece;
        zp_autofree char *path = zp_format("%s/large", w->directory);
        zp_autoclose int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_int_equal(pwrite(fd, "end", 3, (off_t) size - 3), 3);
        for (unsigned i = 0; i < 4; i++) {
                must(w, zp_import_read(w->directory, "large", i * ZP_IMPORT_PIECE, &piece, &w->err));
                assert_int_equal(piece.file_size, size);
                assert_int_equal(piece.size, i < 2 ? ZP_IMPORT_PIECE : i == 2 ? 5 : 0);
                if (i == 2)
                        assert_memory_equal(piece.bytes, "\0\0end", 5);
                free(piece.bytes);
        }
}

static void who_is_told_to_end_waits_for_one_piece_at_most(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        prepare(w, &i, 0);
        for (unsigned at = 1; at < 30; at += 7) {
                struct reading reading = { .piece_max = 100, .cancel_at = at };
                assert_int_equal(import_by(w, &i, &reading), -ECANCELED);
                assert_int_equal(reading.pieces, at);
                assert_false(has_come(w, &i, &image));
        }
        finish(&i);
}

static void file_that_changes_as_it_is_read_is_not_taken(void **state) {
        struct world *w = *state;
        struct image i = { 0 };
        struct zp_image_record image = { 0 };
        struct reading reading = { .piece_max = 100, .shrinks = true };
        prepare(w, &i, 0);
        assert_int_equal(import_by(w, &i, &reading), -EBADMSG);
        assert_non_null(strstr(w->err.message, "changes as it is read"));
        assert_false(has_come(w, &i, &image));
        finish(&i);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(image_comes_along_without_its_data),
                world_test(image_that_is_not_there_is_not_imported),
                world_test(damaged_layer_brings_no_image),
                world_test(device_is_not_believed_to_be_larger_than_its_index_says),
                world_test(device_is_not_believed_to_be_larger_than_the_one_here),
                world_test(files_come_in_pieces),
                world_test(large_file_is_no_more_than_a_piece_at_once),
                world_test(who_is_told_to_end_waits_for_one_piece_at_most),
                world_test(file_that_changes_as_it_is_read_is_not_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
