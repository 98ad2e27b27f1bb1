/* SPDX-License-Identifier: Apache-2.0
 *
 * Protocol buffers: a message is a run of fields, each a key (number << 3 | wire type) and a value. Of a field that
 * comes twice the last counts; a message that comes twice is one of the fields of both.
 */
#include "snapshotter/keychain/pull-request.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "oci/reference.h"

/* The field numbers of the CRI API. */
enum { REQUEST_IMAGE = 1, REQUEST_AUTH = 2 };
enum { IMAGE_NAME = 1 };
enum { AUTH_USERNAME = 1, AUTH_PASSWORD, AUTH_AUTH, AUTH_SERVER_ADDRESS, AUTH_IDENTITY_TOKEN, AUTH_REGISTRY_TOKEN };
#define AUTH_FIELDS 7
#define TEXT_MAX 65536

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

struct text {
        const uint8_t *data;
        size_t size;
};

static uint64_t read_varint(struct zp_reader *r) {
        uint64_t value = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
                uint8_t byte = zp_read_u8(r);
                value |= (uint64_t) (byte & 0x7f) << shift;
                if (!(byte & 0x80))
                        return value;
        }
        r->failed = true;
        return 0;
}

/* The next field; its number is 0 at the end, and when `r` has failed. A value that is not of bytes is skipped. */
static uint64_t read_field(struct zp_reader *r, struct text *value) {
        *value = (struct text){ 0 };
        if (r->left == 0 || r->failed)
                return 0;
        uint64_t key = read_varint(r), size;
        switch (key & 7) {
        case WIRE_VARINT:
                read_varint(r);
                break;
        case WIRE_FIXED64:
                zp_read_bytes(r, 8);
                break;
        case WIRE_FIXED32:
                zp_read_bytes(r, 4);
                break;
        case WIRE_BYTES:
                size = read_varint(r);
                *value = (struct text){ zp_read_bytes(r, size), size };
                break;
        default:
                r->failed = true;
        }
        if (key >> 3 == 0)
                r->failed = true;
        return r->failed ? 0 : key >> 3;
}

/* Fields of a message by their numbers, below `count`. */
static bool read_texts(struct text message, struct text *texts, uint64_t count) {
        struct zp_reader r = zp_reader(message.data, message.size);
        struct text value;
        for (uint64_t number; (number = read_field(&r, &value)) != 0;)
                if (number < count && value.data)
                        texts[number] = value;
        return !r.failed;
}

static int malformed(struct zp_error *err) {
        return zp_error_set(err, EBADMSG, "the request to pull an image is malformed");
}

/* *out NULL for an empty one. */
static int copy(struct text text, char **out, struct zp_error *err) {
        *out = NULL;
        if (text.size == 0)
                return 0;
        if (text.size > TEXT_MAX || memchr(text.data, '\0', text.size))
                return malformed(err);
        *out = strndup((const char *) text.data, text.size);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "pull request");
}

/* Whether they are for the image's registry; they are when they do not say for which. */
static int is_addressed(struct text address, const char *reference, struct zp_error *err) {
        zp_autofree char *text = NULL;
        struct zp_reference parsed;
        int r = copy(address, &text, err);
        if (r < 0 || !text)
                return r < 0 ? r : 1;
        if (zp_reference_parse(reference, &parsed, NULL) < 0)
                return 0;
        bool is = zp_credentials_are_for(text, parsed.registry);
        zp_reference_clear(&parsed);
        return is;
}

/* In containerd's order: the user, else the token, else what is encoded; the registry's token is what it leaves out. */
static int choose(const struct text *texts, struct zp_credentials *out, struct zp_error *err) {
        zp_auto(zp_secret_free) char *auth = NULL;
        if (texts[AUTH_USERNAME].size) {
                int r = copy(texts[AUTH_USERNAME], &out->username, err);
                if (r == 0)
                        r = copy(texts[AUTH_PASSWORD], &out->password, err);
                if (r == 0 && !out->password && !(out->password = strdup("")))
                        r = zp_error_errno(err, ENOMEM, "pull request");
                return r;
        }
        if (texts[AUTH_IDENTITY_TOKEN].size)
                return copy(texts[AUTH_IDENTITY_TOKEN], &out->identity_token, err);
        if (!texts[AUTH_AUTH].size)
                return copy(texts[AUTH_REGISTRY_TOKEN], &out->registry_token, err);
        int r = copy(texts[AUTH_AUTH], &auth, err);
        if (r == 0 && zp_credentials_decode(auth, "auth", out, NULL) < 0)
                r = malformed(err);
        return r;
}

static int read_auth(const struct text *texts, const char *reference, struct zp_credentials *out,
                     struct zp_error *err) {
        int r = is_addressed(texts[AUTH_SERVER_ADDRESS], reference, err);
        if (r == 1)
                r = choose(texts, out, err);
        return r;
}

void snap_pull_request_clear(struct snap_pull_request *request) {
        free(request->reference);
        request->reference = NULL;
        zp_credentials_clear(&request->credentials);
}

int snap_pull_request_read(const void *data, size_t size, struct snap_pull_request *out, struct zp_error *err) {
        struct zp_reader r = zp_reader(data, size);
        struct text value, image[IMAGE_NAME + 1] = { 0 }, auth[AUTH_FIELDS] = { 0 };
        *out = (struct snap_pull_request){ 0 };
        for (uint64_t number; (number = read_field(&r, &value)) != 0;) {
                if (number == REQUEST_IMAGE && !read_texts(value, image, IMAGE_NAME + 1))
                        return malformed(err);
                if (number == REQUEST_AUTH && !read_texts(value, auth, AUTH_FIELDS))
                        return malformed(err);
        }
        int result =
                r.failed || !image[IMAGE_NAME].size ? malformed(err) : copy(image[IMAGE_NAME], &out->reference, err);
        if (result == 0)
                result = read_auth(auth, out->reference, &out->credentials, err);
        if (result < 0)
                zp_credentials_clear(&out->credentials);
        if (result == -EBADMSG && out->reference) { /* whatever containerd makes of them */
                zp_error_clear(err);
                return 0;
        }
        if (result < 0)
                snap_pull_request_clear(out);
        return result;
}
