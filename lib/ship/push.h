/* SPDX-License-Identifier: Apache-2.0
 *
 * Puts a snapshot from the store into a remote, beside its image.
 */
#ifndef ZP_SHIP_PUSH_H
#define ZP_SHIP_PUSH_H

#include "base/cancel.h"
#include "remote/remote.h"
#include "store/store.h"

struct zp_push_events {
        void *context;
        /* Called from several threads, one at a time. `what` names a blob for people ("layer 3, data"). */
        void (*begin)(void *context, unsigned blob, const char *what, uint64_t size);
        void (*progress)(void *context, unsigned blob, uint64_t bytes_sent);
        void (*end)(void *context, unsigned blob, bool was_there);
        /* A pack that was sent while it was made did not arrive. It is sent when it is complete, as another blob. */
        void (*put_off)(void *context, unsigned blob, const struct zp_error *why);
};

struct zp_push_options {
        unsigned threads;       /* blobs at the same time; 0: four */
        const char *mount_from; /* another repository of the same registry that may have the blobs; NULL: none */
        /* The image manifest that zp_push_grow is about. Where the remote has a snapshot of it already, most blobs will
         * be there, and nothing is sent before its digest is known. NULL: packs are sent when they are complete. */
        const struct zp_digest *growing_for;
        const struct zp_cancel *cancel;
        struct zp_push_events events;
};

struct zp_push_result {
        struct zp_digest artifact_digest;
        uint64_t artifact_size;
        unsigned blobs_sent, blobs_present;
        uint64_t bytes_sent; /* over the wire, blobs only */
        bool is_lost;        /* data that was built here is damaged, and set aside: a build makes it again */
};

/* Every blob is checked against the store's records while it is read, so that damage does not travel; those the
 * remote has are not sent, nor read when their digests are known from an earlier push or from a pull, but for the
 * metadata that the bundle is made of; what was found out is noted if the store can be written; the manifest comes
 * last, so a reader sees the whole snapshot or none. Pushing again is cheap and changes nothing. A push that was cut
 * short leaves blobs which the next one finds. An image that was fetched is published as the very artifact as which it
 * was. Of a device that was built here and turns out to be damaged the data is set aside, as is that of the image's
 * others (zp_store_give_pack_up): -EBADMSG, and result->is_lost. -ENOTSUP: what the store holds would make another one,
 * and the remote does not have that one. */
int zp_push(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
            const struct zp_push_options *options, struct zp_push_result *result, struct zp_error *err);

/* The same in steps, for a snapshot that is still being built. */
struct zp_push;
/* Makes sure that the remote takes blobs, by giving it one of two bytes; from here on no credentials have to be looked
 * up. Whatever the arguments point to outlives the push. */
int zp_push_open(struct zp_store *store, struct zp_remote *remote, const struct zp_push_options *options,
                 struct zp_push **out, struct zp_error *err);
/* A layer that is in the store is sent from now on with its devices, by threads that the first call starts; what was
 * added before is not sent twice. What goes wrong, zp_push_finish tells. `number` is for messages. Thread-safe. */
void zp_push_add_layer(struct zp_push *push, const struct zp_digest *layer, const struct zp_digest *diff_id,
                       uint16_t number);
/* The first `size` bytes of the pack of a layer that is being converted are final, and can be read from `fd`, which
 * need not stay open. Once they are ZP_PUSH_GROWING_MIN, and a thread is left for other blobs, they are sent, and the
 * rest as it comes, whether the remote has such a pack or not: its digest is known at the end. A failure here is none
 * of the push: the pack is sent again when it is complete. What is sent was written a moment ago, and is not checked
 * against the index. From any thread, also with a smaller size than before; never waits for the network. */
#define ZP_PUSH_GROWING_MIN (UINT64_C(16) << 20)
void zp_push_grow(struct zp_push *push, uint16_t number, int fd, uint64_t size);
/* That pack is complete, and the device's; NULL: it never will be. Before zp_push_add_layer. */
void zp_push_grown(struct zp_push *push, uint16_t number, const struct zp_device_record *device);
/* Sends what is left of the image, waits for all, publishes. Once. */
int zp_push_finish(struct zp_push *push, const struct zp_image_record *image, struct zp_push_result *result,
                   struct zp_error *err);
/* Ends what is under way. */
void zp_push_close(struct zp_push *push);
ZP_DEFINE_AUTO(struct zp_push, zp_push_close);

#endif
