/* SPDX-License-Identifier: Apache-2.0
 *
 * TOML: what is accepted can be written as JSON.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "oci/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        json_t *root = NULL;
        struct zp_error err = { 0 };
        int r = zp_toml_parse((const char *) data, size, "fuzz", &root, &err);
        assert((r < 0) == (err.message[0] != '\0') && (r == 0) == (root != NULL));
        if (r == 0) {
                char *text = json_dumps(root, 0);
                assert(text);
                free(text);
        }
        json_decref(root);
        return 0;
}
