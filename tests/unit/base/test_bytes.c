/* SPDX-License-Identifier: Apache-2.0
 *
 * Integers of both sizes of machine, a reader that stays inside, arithmetic that tells.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"

static const uint8_t bytes[] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x88, 0x99 };

static void integers_are_little_endian_at_any_address(void **state) {
        (void) state;
        assert_int_equal(zp_get_le16(bytes + 1), 0x0302);
        assert_int_equal(zp_get_le32(bytes + 1), 0x05040302);
        assert_int_equal(zp_get_le64(bytes + 1), UINT64_C(0x9988070605040302));
}

static void written_integers_have_the_same_bytes(void **state) {
        (void) state;
        uint8_t out[9] = { 0 };
        zp_put_le64(out + 1, UINT64_C(0x9988070605040302));
        assert_memory_equal(out + 1, bytes + 1, 8);
        memset(out, 0, sizeof out);
        zp_put_le32(out + 1, 0x05040302);
        assert_memory_equal(out + 1, bytes + 1, 4);
        assert_int_equal(out[5], 0);
        zp_put_le16(out + 5, 0x0706);
        assert_memory_equal(out + 1, bytes + 1, 6);
        assert_int_equal(out[7], 0);
}

static void reader_goes_forward_through_all(void **state) {
        (void) state;
        struct zp_reader r = zp_reader(bytes, sizeof bytes);
        assert_int_equal(zp_read_u8(&r), 1);
        assert_int_equal(zp_read_le16(&r), 0x0302);
        assert_int_equal(zp_read_le32(&r), 0x07060504);
        assert_ptr_equal(zp_read_bytes(&r, 2), bytes + 7);
        assert_int_equal(r.left, 0);
        assert_non_null(zp_read_bytes(&r, 0));
        assert_false(r.failed);
}

static void reading_past_the_end_gives_zero_and_is_remembered(void **state) {
        (void) state;
        struct zp_reader r = zp_reader(bytes, 7);
        assert_int_equal(zp_read_le64(&r), 0);
        assert_true(r.failed);
        /* What is still there is no longer given: the run of reads has failed as one. */
        assert_int_equal(zp_read_u8(&r), 0);
        assert_null(zp_read_bytes(&r, 0));
        assert_true(r.failed);
}

static void absurd_size_does_not_wrap_around(void **state) {
        (void) state;
        struct zp_reader r = zp_reader(bytes, sizeof bytes);
        assert_null(zp_read_bytes(&r, SIZE_MAX));
        assert_true(r.failed);
        r = zp_reader(NULL, 0);
        assert_int_equal(zp_read_u8(&r), 0);
        assert_true(r.failed);
}

static void overflow_is_told(void **state) {
        (void) state;
        uint64_t wide;
        uint32_t narrow;
        assert_false(zp_add_overflows(UINT64_MAX - 1, UINT64_C(1), &wide));
        assert_int_equal(wide, UINT64_MAX);
        assert_true(zp_add_overflows(UINT64_MAX, UINT64_C(1), &wide));
        assert_false(zp_mul_overflows(UINT64_C(1) << 32, UINT64_C(1) << 31, &wide));
        assert_true(zp_mul_overflows(UINT64_C(1) << 32, UINT64_C(1) << 32, &wide));
        assert_true(zp_add_overflows(UINT64_C(0xffffffff), UINT64_C(1), &narrow));
}

static void rounding_goes_up_to_the_next_multiple(void **state) {
        (void) state;
        assert_int_equal(zp_round_up(0, 4096), 0);
        assert_int_equal(zp_round_up(1, 4096), 4096);
        assert_int_equal(zp_round_up(4096, 4096), 4096);
        assert_int_equal(zp_round_up(4097, 4096), 8192);
        assert_int_equal(zp_min_u64(3, 5), 3);
        assert_int_equal(zp_min_u64(5, 3), 3);
}

static void zeros_are_told_from_one_bit(void **state) {
        (void) state;
        uint8_t block[513] = { 0 };
        assert_true(zp_is_zero(block, 0));
        assert_true(zp_is_zero(block, sizeof block));
        for (size_t i = 0; i < sizeof block; i++) {
                block[i] = 0x80;
                assert_false(zp_is_zero(block, sizeof block));
                assert_true(zp_is_zero(block, i));
                block[i] = 0;
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(integers_are_little_endian_at_any_address),
                cmocka_unit_test(written_integers_have_the_same_bytes),
                cmocka_unit_test(reader_goes_forward_through_all),
                cmocka_unit_test(reading_past_the_end_gives_zero_and_is_remembered),
                cmocka_unit_test(absurd_size_does_not_wrap_around),
                cmocka_unit_test(overflow_is_told),
                cmocka_unit_test(rounding_goes_up_to_the_next_multiple),
                cmocka_unit_test(zeros_are_told_from_one_bit),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
