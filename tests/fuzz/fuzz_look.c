/* SPDX-License-Identifier: Apache-2.0
 *
 * What a registry answers when the hook looks at an image: documents, separated by the byte 0x1e, one for each request.
 * Whatever they say, an image that comes out of it is named whole, and so are artifacts.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "registry-hook/look-internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct answers {
        const uint8_t *data;
        size_t size;
};

static int get(void *context, const char *path, const char *accept, const struct zp_digest *expected,
               struct hook_document *out, struct zp_error *err) {
        struct answers *answers = context;
        (void) accept;
        assert(strncmp(path, "manifests/", 10) == 0 || strncmp(path, "blobs/sha256:", 13) == 0);
        if (answers->size == 0)
                return zp_error_set(err, ENOENT, "no more answers");
        const uint8_t *end = memchr(answers->data, 0x1e, answers->size);
        size_t size = end ? (size_t) (end - answers->data) : answers->size;
        out->body = malloc(size + 1); /* of this size, so that a sanitizer sees what is read beyond */
        memcpy(out->body, answers->data, size);
        out->body[size] = '\0';
        out->size = size;
        if (expected)
                out->digest = *expected;
        else
                zp_digest_of(out->body, size, &out->digest);
        answers->data += size + (end != NULL);
        answers->size -= size + (end != NULL);
        return 0;
}

static bool wants(const void *context, const char *platform) {
        (void) context;
        assert(strncmp(platform, "linux/", 6) == 0);
        return strcmp(platform, "linux/s390x") != 0;
}

static void look(const uint8_t *data, size_t size, const struct zp_digest *digest) {
        struct answers answers = { data, size };
        const struct hook_documents documents = { get, &answers };
        const struct hook_look_request request = { .tag = "1", .digest = digest, .wants = wants };
        struct hook_look out = { 0 };
        struct zp_error err = { 0 };
        int r = hook_look_at(&documents, &request, &out, &err);
        assert(r == 0 || err.message[0]); /* what is left out of an index leaves its message */
        for (size_t i = 0; r == 0 && i < out.image_count; i++) {
                struct zp_digest parsed;
                assert(zp_digest_parse(out.images[i].digest, &parsed, NULL) == 0);
                assert(strchr(out.images[i].platform, '/'));
                assert(!out.images[i].labels || json_is_object(out.images[i].labels));
        }
        hook_look_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const struct zp_digest digest = { { 1, 2, 3 } };
        look(data, size, NULL);
        look(data, size, &digest);
        return 0;
}
