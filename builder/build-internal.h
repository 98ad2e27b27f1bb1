/* SPDX-License-Identifier: Apache-2.0
 *
 * A build under way, for the files that it is made of.
 */
#ifndef ZP_BUILDER_BUILD_INTERNAL_H
#define ZP_BUILDER_BUILD_INTERNAL_H

#include <pthread.h>

#include "base/limits.h"
#include "base/pool.h"
#include "builder/base.h"
#include "builder/build.h"

struct zp_building {
        struct zp_source *source;
        struct zp_store *store;
        const struct zp_build_options *options;
        struct zp_build_result *result;
        struct zp_image image;
        char *repository;        /* of the image, "docker.io/library/busybox"; NULL: it is in no registry */
        struct zp_image of_base; /* its layers as its manifest has them; the rest is empty */
        struct zp_pool *pool;
        struct zp_cancel stop;   /* set when the caller cancels or one layer fails: the others need not go on */
        bool is_present;         /* the store has the image: its blobs are checked, nothing is converted */
        struct zp_recipe recipe; /* of the layers to convert */
        struct zp_base base;
        /* the layers' names in the store; each written by the thread that has the layer */
        struct zp_digest names[ZP_LIMIT_LAYERS];

        pthread_mutex_t lock;
        uint16_t order[ZP_LIMIT_LAYERS]; /* distinct layers, largest blob first */
        uint16_t order_count;
        uint16_t next;               /* into order; guarded by lock */
        struct zp_error first_error; /* guarded by lock */
};

/* Converts the image's layers that the store does not have, on up to `threads` threads, and fills b->names. */
int zp_build_all_layers(struct zp_building *b, unsigned threads, struct zp_error *err);
/* The store has the image, b->result->image: the blobs of its layers are read unless that was done before. */
int zp_build_check_layers(struct zp_building *b, unsigned threads, struct zp_error *err);
/* As zp_store_lock() wants it; the context is the build. */
void zp_building_tell_waiting(void *context);

#endif
