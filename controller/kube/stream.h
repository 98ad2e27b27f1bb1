/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects out of a body that is still arriving: the events of a watch (one JSON object after the other), or the items
 * of a list. One object is in memory at a time; one that is too large, or that we cannot read, is left out and the rest
 * goes on, so that nobody who may create objects can stop those who watch them.
 */
#ifndef KUBE_STREAM_H
#define KUBE_STREAM_H

#include <jansson.h>
#include <stdint.h>

#include "base/buffer.h"

enum zp_kube_stream_form { ZP_KUBE_EVENTS, ZP_KUBE_ITEMS };

struct zp_kube_stream {
        /* The caller's. */
        enum zp_kube_stream_form form;
        /* Each object, borrowed. Negative: ends the stream with it. */
        int (*each)(void *context, json_t *object, struct zp_error *err);
        /* One was left out, and why; NULL: nobody listens. */
        void (*left_out)(void *context, const struct zp_error *reason);
        void *context;

        /* The stream's own, zeroed at first. */
        struct zp_buffer object;   /* the one that is arriving */
        struct zp_buffer envelope; /* a list without its items */
        uint64_t total;            /* bytes so far */
        uint64_t object_size;      /* of the one arriving, also of one too large to keep */
        unsigned depth;
        bool is_in_string, is_escaped, is_in_items;
        bool has_key;      /* the member of the list that is arriving is "items" */
        unsigned key_size; /* of the last string */
        char key[8];
};

/* Takes the next piece in. -EBADMSG: not what a stream of this form has; -EFBIG: a list that is too large. */
int zp_kube_stream_feed(struct zp_kube_stream *stream, const void *data, size_t size, struct zp_error *err);
/* The body has ended: -EBADMSG within an object. Of a list, *envelope (the caller's): the list without its items. */
int zp_kube_stream_end(struct zp_kube_stream *stream, json_t **envelope, struct zp_error *err);
void zp_kube_stream_clear(struct zp_kube_stream *stream);

#endif
