/* SPDX-License-Identifier: Apache-2.0 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "oci/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct zp_challenge challenge;
        struct zp_error err = { 0 };
        char *input = strndup((const char *) data, size);
        if (zp_challenge_parse(input, &challenge, &err) == 0)
                zp_challenge_clear(&challenge);
        free(input);
        return 0;
}
