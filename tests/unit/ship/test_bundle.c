/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the parts of an artifact lie in its bundle.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ship/bundle.h"

static struct zp_digest digest(uint8_t fill) {
        struct zp_digest d;
        memset(d.bytes, fill, sizeof d.bytes);
        return d;
}

static struct zp_artifact_layer layers[2];
static struct zp_artifact_device devices[2];

static struct zp_artifact make(void) {
        for (uint8_t i = 0; i < 2; i++) {
                layers[i].metadata = (struct zp_artifact_metadata){ .blob_digest = digest(10 + i), .blob_size = 1000 };
                devices[i] = (struct zp_artifact_device){
                        .digest = digest(20 + i), .index_size = 72, .pack_digest = digest(30 + i), .pack_size = 54321
                };
        }
        return (struct zp_artifact){ .snapshot = { .blob_digest = digest(1), .blob_size = 4000 },
                                     .prefetch_digest = digest(2),
                                     .prefetch_size = 77,
                                     .layer_count = 2,
                                     .layers = layers,
                                     .device_count = 2,
                                     .devices = devices };
}

static void parts_lie_end_to_end(void **state) {
        (void) state;
        struct zp_artifact a = make();
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size, offset;
        assert_int_equal(zp_bundle_list(&a, parts, &size), 6);
        assert_int_equal(size, 4000 + 77 + 2 * 1000 + 2 * 72);
        assert_ptr_equal(parts[2].layer, &layers[0]);
        assert_ptr_equal(parts[5].device, &devices[1]);
        assert_true(zp_bundle_find(&a, &a.prefetch_digest, 77, &offset));
        assert_int_equal(offset, 4000);
        assert_true(zp_bundle_find(&a, &devices[1].digest, 72, &offset));
        assert_int_equal(offset, size - 72);
        assert_false(zp_bundle_find(&a, &a.prefetch_digest, 78, &offset));
        assert_false(zp_bundle_find(&a, &devices[0].pack_digest, 54321, &offset));
}

static void a_snapshot_without_a_list_has_a_part_less(void **state) {
        (void) state;
        struct zp_artifact a = make();
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size;
        a.prefetch_size = 0;
        assert_int_equal(zp_bundle_list(&a, parts, &size), 5);
        assert_int_equal(parts[1].offset, 4000);
        assert_ptr_equal(parts[1].layer, &layers[0]);
}

static void much_metadata_has_no_bundle(void **state) {
        (void) state;
        struct zp_artifact a = make();
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size;
        zp_bundle_list(&a, parts, &size);
        a.snapshot.blob_size += ZP_BUNDLE_SIZE_MAX - size;
        zp_bundle_list(&a, parts, &size);
        assert_int_equal(size, ZP_BUNDLE_SIZE_MAX);
        a.snapshot.blob_size++;
        zp_bundle_list(&a, parts, &size);
        assert_int_equal(size, 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(parts_lie_end_to_end),
                cmocka_unit_test(a_snapshot_without_a_list_has_a_part_less),
                cmocka_unit_test(much_metadata_has_no_bundle),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
