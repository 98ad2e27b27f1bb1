/* SPDX-License-Identifier: Apache-2.0
 *
 * What is read of a PullImageRequest can be used: a reference without NULs, and credentials of one kind at most.
 * Written again in the plainest form it is read as the same.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "snapshotter/keychain/pull-request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_field(struct zp_buffer *out, unsigned number, const void *value, size_t size) {
        char head[12] = { (char) (number << 3 | 2) };
        size_t used = 1, rest = size;
        for (; rest > 127; rest >>= 7)
                head[used++] = (char) (rest | 128);
        head[used++] = (char) rest;
        assert(zp_buffer_append(out, head, used) && zp_buffer_append(out, value, size));
}

static void put_text(struct zp_buffer *out, unsigned number, const char *text) {
        if (text)
                put_field(out, number, text, strlen(text));
}

static void write_again(const struct snap_pull_request *request, struct zp_buffer *out) {
        const struct zp_credentials *c = &request->credentials;
        zp_autobuffer struct zp_buffer image = { 0 }, auth = { 0 };
        put_text(&image, 1, request->reference);
        put_text(&auth, 1, c->username);
        put_text(&auth, 2, c->password);
        put_text(&auth, 5, c->identity_token);
        put_text(&auth, 6, c->registry_token);
        put_field(out, 2, auth.data ? auth.data : "", auth.size);
        put_field(out, 1, image.data, image.size);
}

static void same(const char *a, const char *b) {
        assert(!a == !b && (!a || strcmp(a, b) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct snap_pull_request request, again;
        struct zp_error err = { 0 };
        zp_autobuffer struct zp_buffer plain = { 0 };
        if (snap_pull_request_read(data, size, &request, &err) < 0) {
                assert(err.message[0]);
                return 0;
        }
        const struct zp_credentials *c = &request.credentials;
        assert(request.reference && request.reference[0] && !c->username == !c->password);
        assert(!!c->username + !!c->identity_token + !!c->registry_token <= 1);
        write_again(&request, &plain);
        assert(snap_pull_request_read(plain.data, plain.size, &again, &err) == 0);
        same(request.reference, again.reference);
        same(c->username, again.credentials.username);
        same(c->password, again.credentials.password);
        same(c->identity_token, again.credentials.identity_token);
        same(c->registry_token, again.credentials.registry_token);
        snap_pull_request_clear(&again);
        snap_pull_request_clear(&request);
        return 0;
}
