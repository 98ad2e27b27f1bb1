/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory from an arena: zeroed, aligned, not overlapping, large and small pieces mixed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"

static void pieces_are_zeroed_aligned_and_apart(void **state) {
        (void) state;
        struct zp_arena arena = { 0 };
        enum { PIECES = 3000 };
        uint8_t *pieces[PIECES];
        size_t sizes[PIECES];
        for (size_t i = 0; i < PIECES; i++) {
                sizes[i] = i % 97 == 0 ? 100000 + i : i % 211; /* some have a block of their own */
                pieces[i] = zp_arena_alloc(&arena, sizes[i]);
                assert_non_null(pieces[i]);
                assert_int_equal((uintptr_t) pieces[i] % _Alignof(max_align_t), 0);
                for (size_t k = 0; k < sizes[i]; k++)
                        assert_int_equal(pieces[i][k], 0);
                memset(pieces[i], (int) (i % 255 + 1), sizes[i]);
        }
        for (size_t i = 0; i < PIECES; i++)
                for (size_t k = 0; k < sizes[i]; k++)
                        if (pieces[i][k] != i % 255 + 1)
                                fail_msg("piece %zu was overwritten", i);
        zp_arena_clear(&arena);
}

static void use_is_counted_and_forgotten_when_cleared(void **state) {
        (void) state;
        struct zp_arena arena = { 0 };
        assert_non_null(zp_arena_alloc(&arena, 1000));
        assert_non_null(zp_arena_alloc(&arena, 1000000));
        assert_true(arena.used_bytes >= 1001000 && arena.used_bytes < 1001000 + 64);
        zp_arena_clear(&arena);
        assert_int_equal(arena.used_bytes, 0);
        assert_non_null(zp_arena_alloc(&arena, 1)); /* ready again */
        zp_arena_clear(&arena);
        zp_arena_clear(&arena);
}

static void copies_end_in_a_nul(void **state) {
        (void) state;
        struct zp_arena arena = { 0 };
        char *copy = zp_arena_copy(&arena, "abcdef", 3);
        assert_string_equal(copy, "abc");
        assert_string_equal(zp_arena_copy(&arena, NULL, 0), "");
        char *binary = zp_arena_copy(&arena, "a\0b", 3);
        assert_memory_equal(binary, "a\0b", 4);
        zp_arena_clear(&arena);
}

static void absurd_size_is_refused(void **state) {
        (void) state;
        struct zp_arena arena = { 0 };
        assert_null(zp_arena_alloc(&arena, SIZE_MAX));
        assert_null(zp_arena_alloc(&arena, SIZE_MAX - 8));
        assert_null(zp_arena_copy(&arena, "x", SIZE_MAX));
        zp_arena_clear(&arena);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(pieces_are_zeroed_aligned_and_apart),
                cmocka_unit_test(use_is_counted_and_forgotten_when_cleared),
                cmocka_unit_test(copies_end_in_a_nul),
                cmocka_unit_test(absurd_size_is_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
