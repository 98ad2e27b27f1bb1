/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/kube/stream.h"

#include <string.h>

#include "controller/kube/kube-internal.h"

#define ENVELOPE_MAX (1u << 20)
/* What an event puts around its object. */
#define WRAPPING_MAX 4096u
#define ITEMS_KEY "items"

static int bad(const struct zp_kube_stream *stream, struct zp_error *err, const char *what) {
        return zp_error_set(err, EBADMSG, "%s: %s", stream->form == ZP_KUBE_EVENTS ? "watch" : "list", what);
}

/* Where objects begin: at the top, or in the array that is "items" of the top. */
static unsigned base_depth(const struct zp_kube_stream *stream) {
        return stream->form == ZP_KUBE_EVENTS ? 0 : 2;
}

static bool is_between_objects(const struct zp_kube_stream *stream) {
        return stream->depth == base_depth(stream) && (stream->form == ZP_KUBE_EVENTS || stream->is_in_items);
}

static bool is_in_object(const struct zp_kube_stream *stream) {
        return stream->depth > base_depth(stream) && (stream->form == ZP_KUBE_EVENTS || stream->is_in_items);
}

/* ---- what has arrived ---- */

static int keep(struct zp_kube_stream *stream, const char *data, size_t size, struct zp_error *err) {
        if (is_in_object(stream)) {
                stream->object_size += size;
                if (stream->object_size > KUBE_OBJECT_MAX + WRAPPING_MAX)
                        stream->object.size = 0;
                else if (!zp_buffer_append(&stream->object, data, size))
                        return zp_error_errno(err, ENOMEM, "watch");
                return 0;
        }
        if (stream->form == ZP_KUBE_EVENTS)
                return 0; /* white space */
        if (size > ENVELOPE_MAX - stream->envelope.size)
                return zp_error_set(err, EFBIG, "list: more than %u KiB beside its items", ENVELOPE_MAX >> 10);
        return zp_buffer_append(&stream->envelope, data, size) ? 0 : zp_error_errno(err, ENOMEM, "list");
}

static int deliver(struct zp_kube_stream *stream, struct zp_error *err) {
        zp_auto(json_decref) json_t *object = NULL;
        struct zp_error reason = { 0 };
        int r;
        if (stream->object_size > KUBE_OBJECT_MAX + WRAPPING_MAX)
                r = zp_error_set(&reason, EFBIG, "an object of %ju bytes", (uintmax_t) stream->object_size);
        else
                r = zp_json_load(stream->object.data, stream->object.size, "an object", &object, &reason);
        stream->object.size = stream->object_size = 0;
        if (r == 0)
                return stream->each(stream->context, object, err);
        if (stream->left_out)
                stream->left_out(stream->context, &reason);
        return 0;
}

/* ---- byte by byte ---- */

static void in_string(struct zp_kube_stream *stream, char c) {
        if (stream->is_escaped) {
                stream->is_escaped = false;
        } else if (c == '\\') {
                stream->is_escaped = true;
        } else if (c == '"') {
                stream->is_in_string = false;
                return;
        }
        if (stream->key_size < sizeof stream->key)
                stream->key[stream->key_size++] = c;
}

/* Outside of strings and of objects to deliver: where in a list are we? */
static int in_envelope(struct zp_kube_stream *stream, char c, struct zp_error *err) {
        bool is_space = c == ' ' || c == '\n' || c == '\r' || c == '\t';
        if (is_between_objects(stream)) {
                bool is_fine = is_space || c == '{' || (stream->form == ZP_KUBE_ITEMS && (c == ',' || c == ']'));
                return is_fine ? 0 : bad(stream, err, "something else than objects");
        }
        if (stream->depth == 0 && !is_space && c != '{')
                return bad(stream, err, "not a JSON object");
        if (stream->depth == 1 && c == ':')
                stream->has_key =
                        stream->key_size == strlen(ITEMS_KEY) && memcmp(stream->key, ITEMS_KEY, stream->key_size) == 0;
        else if (stream->depth == 1 && c == ',')
                stream->has_key = false;
        else if (stream->depth == 1 && c == '[' && stream->has_key)
                stream->is_in_items = true;
        return 0;
}

/* One byte outside of strings. *run: where that begins which is not kept yet. */
static int structure(struct zp_kube_stream *stream, const char *data, size_t at, size_t *run, struct zp_error *err) {
        char c = data[at];
        int r = is_in_object(stream) ? 0 : in_envelope(stream, c, err);
        if (r < 0)
                return r;
        switch (c) {
        case '"':
                stream->is_in_string = true;
                stream->key_size = 0;
                return 0;
        case '{':
        case '[':
                if (is_between_objects(stream)) {
                        r = keep(stream, data + *run, at - *run, err);
                        *run = at;
                }
                stream->depth++;
                return r;
        case '}':
        case ']':
                if (stream->depth == 0)
                        return bad(stream, err, "brackets that do not match");
                if (is_in_object(stream) && stream->depth == base_depth(stream) + 1) {
                        r = keep(stream, data + *run, at + 1 - *run, err);
                        *run = at + 1;
                        stream->depth--;
                        if (r == 0)
                                r = deliver(stream, err);
                        return r < 0 ? r : keep(stream, "0", 1, err); /* in its place */
                }
                stream->depth--;
                if (stream->depth == 1)
                        stream->is_in_items = stream->has_key = false;
                return 0;
        default:
                return 0;
        }
}

int zp_kube_stream_feed(struct zp_kube_stream *stream, const void *bytes, size_t size, struct zp_error *err) {
        const char *data = bytes;
        size_t run = 0;
        stream->total += size;
        if (stream->form == ZP_KUBE_ITEMS && stream->total > KUBE_PAGE_MAX)
                return zp_error_set(err, EFBIG, "list: a page of more than %ju MiB", (uintmax_t) (KUBE_PAGE_MAX >> 20));
        for (size_t i = 0; i < size; i++) {
                if (stream->is_in_string) {
                        in_string(stream, data[i]);
                        continue;
                }
                int r = structure(stream, data, i, &run, err);
                if (r < 0)
                        return r;
        }
        return keep(stream, data + run, size - run, err);
}

/* The items have gone to `each`; had their key been written in another way, they would be here. */
static int check_envelope(const struct zp_kube_stream *stream, json_t *envelope, struct zp_error *err) {
        json_t *items = json_object_get(envelope, ITEMS_KEY), *item;
        size_t i;
        if (items && !json_is_null(items) && !json_is_array(items))
                return bad(stream, err, "'items' is not an array");
        json_array_foreach(items, i, item) {
                if (!json_is_integer(item))
                        return bad(stream, err, "'items' has something else than objects");
        }
        return 0;
}

int zp_kube_stream_end(struct zp_kube_stream *stream, json_t **envelope, struct zp_error *err) {
        if (stream->depth > 0 || stream->is_in_string)
                return bad(stream, err, "ends within an object");
        if (stream->form == ZP_KUBE_EVENTS)
                return 0;
        zp_auto(json_decref) json_t *json = NULL;
        int r = zp_json_load(stream->envelope.data ? stream->envelope.data : "", stream->envelope.size, "list", &json,
                             err);
        if (r == 0)
                r = check_envelope(stream, json, err);
        if (r == 0)
                *envelope = zp_steal(&json);
        return r;
}

void zp_kube_stream_clear(struct zp_kube_stream *stream) {
        zp_buffer_clear(&stream->object);
        zp_buffer_clear(&stream->envelope);
}
