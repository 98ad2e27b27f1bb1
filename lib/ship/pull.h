/* SPDX-License-Identifier: Apache-2.0
 *
 * Fetches an image's snapshot from a remote into the store.
 */
#ifndef ZP_SHIP_PULL_H
#define ZP_SHIP_PULL_H

#include "base/cancel.h"
#include "remote/remote.h"
#include "store/store.h"

struct zp_pull_events {
        void *context;
        /* Called from several threads, one at a time. */
        void (*resolved)(void *context, const struct zp_image *image);
        void (*begin)(void *context, unsigned blob, const char *what, uint64_t size);
        void (*progress)(void *context, unsigned blob, uint64_t bytes_received);
        void (*end)(void *context, unsigned blob);
        void (*waiting)(void *context);
        /* A blob did not arrive, and what it holds is fetched in other ways. */
        void (*put_off)(void *context, unsigned blob, const struct zp_error *why);
};

/* Decides whether an artifact may be used: 0, or a negative errno with the reason (-EACCES: not trusted). */
typedef int (*zp_pull_check)(void *context, const struct zp_descriptor *artifact, const struct zp_digest *subject,
                             struct zp_error *err);

struct zp_pull_options {
        struct zp_platform platform;
        const struct zp_digest *manifest; /* what the image resolves to, where that is known before; NULL */
        bool is_complete;                 /* fetch the devices' data too, not their indexes alone */
        unsigned threads;                 /* packs at the same time; 0: four */
        /* NULL: all are trusted. With one, an image that is there already must be the snapshot that passes, too. */
        zp_pull_check check;
        void *check_context;
        /* Fetch the block maps of devices whose data is not here, where there are such, for an image that is there
         * already as well: what a base for the next version needs. A map that is there and not the artifact's is
         * -EBADMSG, or made again later where the data is here. */
        bool with_maps;
        bool confine;              /* zp_confine() the process, for good, once the artifact is chosen */
        const char *also_readable; /* what `remote` still opens when confined; NULL: nothing */
        const struct zp_cancel *cancel;
        struct zp_pull_events events;
};

struct zp_pull_result {
        struct zp_image_record image; /* to be cleared by the caller */
        struct zp_digest artifact_digest;
        uint16_t layers_fetched, layers_reused;
        unsigned devices_fetched; /* their data */
        bool is_complete;         /* the data of all is here */
        uint64_t bytes_received;  /* blobs only */
        bool was_present;
};

/* Resolves the image, finds its snapshot in the remote, and fetches what the store does not have. Data comes only with
 * `is_complete`, for an image that is there without it as well. Every blob is checked against the artifact's digests,
 * the uncompressed metadata too, the pack's frames against its index, and what the metadata says of its devices against
 * the artifact, before an image appears in the store. Of several artifacts the newest is taken that is trusted and
 * well-formed; when none is, the newest one's error is told. -ENOENT: the remote has no snapshot of this image. A pull
 * that was cut short leaves the devices it finished. */
int zp_pull(struct zp_source *source, struct zp_remote *remote, struct zp_store *store,
            const struct zp_pull_options *options, struct zp_pull_result *result, struct zp_error *err);

#endif
