/* SPDX-License-Identifier: Apache-2.0
 *
 * The same bytes as a signature's document, as its manifest, and as a key. What is accepted as a document is written
 * back as it came; what a manifest gives is what its own document says.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "trust/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void as_document(const char *body, size_t size) {
        struct zp_signature signature;
        struct zp_error err = { 0 };
        char *text;
        size_t text_size;
        if (zp_signature_parse(body, size, &signature, &err) < 0)
                return;
        assert(zp_signature_format(&signature, &text, &text_size, &err) == 0);
        assert(text_size == size && memcmp(text, body, size) == 0);
        free(text);
}

static void as_manifest(const char *body, size_t size) {
        struct zp_signature signature, again;
        struct zp_error err = { 0 };
        char *text;
        size_t text_size;
        if (zp_signature_parse_manifest(body, size, &signature, &err) < 0)
                return;
        assert(zp_signature_format_manifest(&signature, 1, &text, &text_size, &err) == 0);
        assert(zp_signature_parse_manifest(text, text_size, &again, &err) == 0);
        assert(memcmp(&signature, &again, sizeof again) == 0);
        free(text);
}

static void as_key(const char *pem, size_t size) {
        struct zp_key *key = NULL;
        struct zp_error err = { 0 };
        if (zp_key_parse(pem, size, "key", NULL, &key, &err) == 0)
                zp_key_free(key);
        if (zp_key_parse_public(pem, size, "key", &key, &err) < 0)
                return;
        assert(!zp_key_is_private(key));
        zp_key_free(key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        as_document((const char *) data, size);
        as_manifest((const char *) data, size);
        as_key((const char *) data, size);
        return 0;
}
