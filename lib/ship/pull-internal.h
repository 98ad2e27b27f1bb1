/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of a pull share.
 */
#ifndef ZP_SHIP_PULL_INTERNAL_H
#define ZP_SHIP_PULL_INTERNAL_H

#include <pthread.h>

#include "ship/artifact.h"
#include "ship/look.h"
#include "ship/pull.h"

struct zp_pull {
        struct zp_source *source;
        struct zp_remote *remote;
        struct zp_store *store;
        const struct zp_pull_options *options;
        struct zp_pull_result *result;
        struct zp_image image;
        struct zp_look *look;        /* for artifacts, begun while the image was resolved */
        struct zp_digest looked_for; /* by `look` */
        struct zp_artifact artifact;
        uint8_t *bundle; /* the artifact's, while its parts are taken from it; NULL: each is asked for */
        struct zp_cancel stop;

        /* each written by the thread that has the part; the staging directories are NULL for what is there already */
        struct zp_staging *for_snapshot, *for_layers[ZP_LIMIT_LAYERS], *for_devices[ZP_LIMIT_DEVICES];
        struct zp_layer_record layers[ZP_LIMIT_LAYERS];
        struct zp_device_record new_devices[ZP_LIMIT_DEVICES];

        struct zp_device_record *devices; /* of the image */
        size_t device_count;

        pthread_mutex_t lock;
        pthread_cond_t room;         /* some memory was given back */
        uint64_t memory;             /* that parts under way may take; guarded by lock */
        unsigned blobs;              /* numbers given to events; guarded by lock */
        struct zp_error first_error; /* guarded by lock */
};

/* receive.c: one blob, with events on the way. Thread-safe. */
/* What comes from `offset` on; the blob's digest is checked when that is 0, else it is the caller's to check. */
int zp_pull_receive_rest(struct zp_pull *pull, const char *what, const struct zp_digest *digest, uint64_t size,
                         uint64_t offset, zp_blob_sink take, void *context, struct zp_error *err);
/* A whole one, checked, from the bundle where that has it; *out is malloc'ed, `size` bytes. */
int zp_pull_receive_whole(struct zp_pull *pull, const char *what, const struct zp_digest *digest, uint64_t size,
                          uint8_t **out, struct zp_error *err);
/* A metadata file into a staging directory; returns its descriptor, the caller's. */
int zp_pull_receive_metadata(struct zp_pull *pull, const char *what, const struct zp_artifact_metadata *metadata,
                             struct zp_staging *staging, const char *file, struct zp_error *err);

/* pull-bundle.c */
/* Fetches the artifact's bundle into pull->bundle, if it has one and that is worth it. */
int zp_pull_fetch_bundle(struct zp_pull *pull, struct zp_error *err);
/* 1: *out (malloc'ed, `size` bytes) is the blob, checked; 0: pull->bundle does not have it. */
int zp_pull_take_from_bundle(struct zp_pull *pull, const char *what, const struct zp_digest *digest, uint64_t size,
                             uint8_t **out, struct zp_error *err);

/* Runs `work` for each number below `count`, several at a time; the first failure stops the others and is returned. */
typedef int (*zp_pull_work)(struct zp_pull *pull, unsigned number, struct zp_error *err);
int zp_pull_each(struct zp_pull *pull, unsigned count, unsigned threads, zp_pull_work work, struct zp_error *err);

/* Waits until what is under way takes so little memory that `size` bytes more are fine (a part that is larger than all
 * that is then goes alone), and gives them back. A thread that has some must not ask for more. */
void zp_pull_take_memory(struct zp_pull *pull, uint64_t size);
void zp_pull_give_memory(struct zp_pull *pull, uint64_t size);

/* parts.c: fetches what the store does not have of the artifact but its packs, all at the same time, into staging
 * directories. */
int zp_pull_parts(struct zp_pull *pull, struct zp_error *err);
/* In a batch: devices (by their indexes) and layers become part of the store. */
int zp_pull_commit_parts(struct zp_pull *pull, struct zp_error *err);
/* Of an image that is here: what is missing of the artifact's devices but their packs. */
int zp_pull_device_parts(struct zp_pull *pull, struct zp_error *err);

/* repair.c */
/* The file that `fd` (closed; negative: there is none) is, is what the record says. */
bool zp_pull_is_intact(int fd, uint64_t size, const struct zp_digest *digest);
/* Whether all that is here of result->image, whose devices are in `devices`, but the packs. */
bool zp_pull_metadata_is_intact(const struct zp_pull *pull);
/* Packs of `devices` that are damaged are here no more, as far as somebody can be asked for them again: what is right
 * at their beginning is what has come so far. */
int zp_pull_check_packs(struct zp_pull *pull, struct zp_error *err);

/* packs.c: how many packs at the same time. */
unsigned zp_pull_threads(const struct zp_pull *pull);
/* Fetches the data of the `device_count` devices in `devices` that the store has not. */
int zp_pull_packs(struct zp_pull *pull, struct zp_error *err);

#endif
