/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of a pull share.
 */
#ifndef ZP_SHIP_PULL_INTERNAL_H
#define ZP_SHIP_PULL_INTERNAL_H

#include <pthread.h>

#include "ship/artifact.h"
#include "ship/pull.h"

struct zp_pull {
        struct zp_source *source;
        struct zp_remote *remote;
        struct zp_store *store;
        const struct zp_pull_options *options;
        struct zp_pull_result *result;
        struct zp_image image;
        struct zp_artifact artifact;
        struct zp_cancel stop;

        /* each written by the thread that has the part; the staging directories are NULL for what is there already */
        struct zp_staging *for_snapshot, *for_layers[ZP_LIMIT_LAYERS];
        struct zp_layer_record layers[ZP_LIMIT_LAYERS];

        pthread_mutex_t lock;
        unsigned next;               /* part; guarded by lock */
        unsigned blobs;              /* numbers given to events; guarded by lock */
        struct zp_error first_error; /* guarded by lock */
};

/* receive.c: one blob, checked against its digest, with events on the way. Thread-safe. */
int zp_pull_receive(struct zp_pull *pull, const char *what, const struct zp_digest *digest, uint64_t size,
                    zp_blob_sink take, void *context, struct zp_error *err);
/* *out is malloc'ed, `size` bytes. */
int zp_pull_receive_whole(struct zp_pull *pull, const char *what, const struct zp_digest *digest, uint64_t size,
                          uint8_t **out, struct zp_error *err);
/* A metadata file into a staging directory; returns its descriptor, the caller's. */
int zp_pull_receive_metadata(struct zp_pull *pull, const char *what, const struct zp_artifact_metadata *metadata,
                             struct zp_staging *staging, const char *file, struct zp_error *err);
int zp_pull_stage(struct zp_staging *staging, const char *file, const void *data, size_t size, struct zp_error *err);

/* parts.c: fetches what the store does not have of the artifact, several parts at a time. Devices are in the store
 * then, layers too, the snapshot's metadata is in `for_snapshot`. */
int zp_pull_parts(struct zp_pull *pull, struct zp_error *err);
/* Fetches the data of those devices that are held by their index alone. */
int zp_pull_missing_data(struct zp_pull *pull, const struct zp_device_record *devices, size_t count,
                         struct zp_error *err);

#endif
