/* SPDX-License-Identifier: Apache-2.0
 *
 * What an artifact describes against what a store has on record. The layers here are texts: nothing opens them.
 */
#include "../store/store-fixture.h"
#include "ship/held.h"

#define IMAGE "image"

struct held {
        struct zp_image_record image;
        struct zp_artifact_layer layers[2];
        struct zp_artifact_device devices[2];
        struct zp_artifact artifact;
};

static struct zp_artifact_layer describe_layer(const char *name) {
        struct zp_layer_record record = layer_record(name, "1");
        return (struct zp_artifact_layer){ .diff_id = record.diff_id,
                                           .metadata = { .digest = record.metadata_digest,
                                                         .size = record.metadata_size } };
}

static struct zp_artifact_device describe_device(const char *name) {
        struct zp_device_record record = device_record(name, "1");
        return (struct zp_artifact_device){ .digest = record.digest,
                                            .index_size = record.index_size,
                                            .device_size = record.device_size,
                                            .pack_digest = digest_of_text(layer_texts(name, "1").pack),
                                            .pack_size = record.pack_size };
}

/* An image of two layers, and the artifact that is just about it. */
static void prepare(struct world *w, struct held *h) {
        struct zp_digest digest = digest_of_text(IMAGE);
        must(w, commit_layer(w->store, "lower", "1", &w->err));
        must(w, commit_layer(w->store, "upper", "1", &w->err));
        must(w, commit_image(w->store, IMAGE, "x", NULL, (const char *[]){ "lower", "upper", NULL }, &w->err));
        assert_int_equal(zp_store_find_image(w->store, &digest, &h->image, &w->err), 1);
        h->layers[0] = describe_layer("lower");
        h->layers[1] = describe_layer("upper");
        h->devices[0] = describe_device("lower");
        h->devices[1] = describe_device("upper");
        h->artifact = (struct zp_artifact){ .subject_digest = digest,
                                            .snapshot = { .digest = h->image.metadata_digest,
                                                          .size = h->image.metadata_size },
                                            .layer_count = 2,
                                            .layers = h->layers,
                                            .device_count = 2,
                                            .devices = h->devices };
}

static int compare(struct world *w, const struct held *h, bool with_packs) {
        return zp_held_compare(w->store, &h->image, &h->artifact, with_packs, &w->err);
}

static void the_very_snapshot_is_recognised(void **state) {
        struct world *w = *state;
        struct held h = { 0 };
        prepare(w, &h);
        assert_int_equal(compare(w, &h, false), 0);
        assert_int_equal(compare(w, &h, true), 0);
        zp_image_record_clear(&h.image);
}

/* One byte of one field, and back. */
static void expect_difference(struct world *w, struct held *h, void *field, bool with_packs) {
        uint8_t *byte = field;
        *byte ^= 1;
        assert_int_equal(compare(w, h, with_packs), -EBADMSG);
        *byte ^= 1;
        assert_int_equal(compare(w, h, with_packs), 0);
}

static void each_digest_and_size_counts(void **state) {
        struct world *w = *state;
        struct held h = { 0 };
        prepare(w, &h);
        void *const fields[] = { &h.artifact.subject_digest, &h.artifact.snapshot.digest,  &h.artifact.snapshot.size,
                                 &h.layers[0].diff_id,       &h.layers[0].metadata.digest, &h.layers[1].metadata.digest,
                                 &h.devices[1].digest,       &h.devices[1].index_size,     &h.devices[0].pack_size,
                                 &h.devices[0].device_size };
        for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
                expect_difference(w, &h, fields[i], false);
        expect_difference(w, &h, &h.devices[1].pack_digest, true);
        zp_image_record_clear(&h.image);
}

static void a_pack_that_was_changed_is_found_when_it_is_read(void **state) {
        struct world *w = *state;
        struct held h = { 0 };
        prepare(w, &h);
        const char *pack = below(w, "devices/%s/device.zst", hex_of(&h.devices[0].digest));
        int fd = open(pack, O_WRONLY);
        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, "P", 1, 0), 1);
        close(fd);
        assert_int_equal(compare(w, &h, false), 0);
        assert_int_equal(compare(w, &h, true), -EBADMSG);
        zp_image_record_clear(&h.image);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                world_test(the_very_snapshot_is_recognised),
                world_test(each_digest_and_size_counts),
                world_test(a_pack_that_was_changed_is_found_when_it_is_read),
        };
        return cmocka_run_group_tests_name("ship/held", tests, NULL, NULL);
}
