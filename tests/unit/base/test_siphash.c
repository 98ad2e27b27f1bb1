/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/siphash.h"

/* The example in appendix A of the SipHash paper, and the first of its authors' test vectors. */
static void published_vectors_are_met(void **state) {
        (void) state;
        struct zp_siphash_key key = { { UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908) } };
        uint8_t input[15];
        for (uint8_t i = 0; i < sizeof input; i++)
                input[i] = i;
        assert_true(zp_siphash(key, input, sizeof input) == UINT64_C(0xa129ca6149be45e5));
        assert_true(zp_siphash(key, input, 0) == UINT64_C(0x726fdb47dd0e0e31));
}

static void key_of_the_process_does_not_change(void **state) {
        (void) state;
        struct zp_siphash_key first = zp_siphash_process_key(), second = zp_siphash_process_key();
        assert_memory_equal(&first, &second, sizeof first);
        assert_true(first.words[0] != 0 || first.words[1] != 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(published_vectors_are_met),
                cmocka_unit_test(key_of_the_process_does_not_change),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
