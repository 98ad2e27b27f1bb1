// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "oci/chain-id.h"

/* The diffIDs of the example configuration in the OCI image-spec and one more. */
static const char *const layers[] = { "sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1",
                                      "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
                                      "sha256:0000000000000000000000000000000000000000000000000000000000000000" };
/* By the specification's rule, with coreutils: printf '%s %s' CHAIN DIFFID | sha256sum */
static const char *const chains[] = { "sha256:c6f988f4874bb0add23a778f753c65efe992244e148a1d2ec2a8b664fb66bbd1",
                                      "sha256:c3191d32a37d7159b2e30830937d2e30268ad6c375a773a8994911a3aba9b93f",
                                      "sha256:7f9498178aade866291da6865f0528f3a40dee48ff2653bf68550c0a607a883c" };
#define COUNT (sizeof layers / sizeof *layers)

static void each_layer_is_named_with_those_below(void **state) {
        (void) state;
        struct zp_digest diff_ids[COUNT], chain_ids[COUNT];
        char text[ZP_DIGEST_TEXT_SIZE];
        for (size_t i = 0; i < COUNT; i++)
                assert_int_equal(zp_digest_parse(layers[i], &diff_ids[i], NULL), 0);
        zp_chain_ids(diff_ids, COUNT, chain_ids);
        for (size_t i = 0; i < COUNT; i++)
                assert_string_equal(zp_digest_text(&chain_ids[i], text), chains[i]);
}

static void no_layers_have_no_chain(void **state) {
        (void) state;
        struct zp_digest untouched = { { 1 } };
        zp_chain_ids(NULL, 0, &untouched);
        assert_int_equal(untouched.bytes[0], 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_layer_is_named_with_those_below),
                cmocka_unit_test(no_layers_have_no_chain),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
