/* SPDX-License-Identifier: Apache-2.0
 *
 * A reference that is accepted is in normal form after one round: parsing its text gives the same text.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/reference.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct zp_reference reference;
        struct zp_error err = { 0 };
        char *input = strndup((const char *) data, size);
        if (zp_reference_parse(input, &reference, &err) == 0) {
                char *text = zp_reference_text(&reference);
                zp_reference_clear(&reference);
                assert(zp_reference_parse(text, &reference, NULL) == 0);
                char *again = zp_reference_text(&reference);
                assert(strcmp(text, again) == 0);
                zp_reference_clear(&reference);
                free(text);
                free(again);
        }
        free(input);
        return 0;
}
