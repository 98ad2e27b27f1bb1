/* SPDX-License-Identifier: Apache-2.0
 *
 * The same bytes as a token, as a key set, and both in one with a newline between: nothing passes that nobody signed.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/providers/jwt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static const char *const issuers[] = { "https://accounts.google.com", NULL };
        const struct hook_jwt_expectation expectation = { .issuers = issuers,
                                                          .email = "hook@acme.example",
                                                          .now_s = 1772600800 };
        char *text = calloc(1, size + 1);
        if (!text)
                return 0;
        memcpy(text, data, size);
        char *keys = strchr(text, '\n');
        if (keys)
                *keys++ = '\0';
        else
                keys = text;
        assert(hook_jwt_verify(text, keys, strlen(keys), &expectation, NULL) == -EACCES);
        free(text);
        return 0;
}
