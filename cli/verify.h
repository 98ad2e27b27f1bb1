/* SPDX-License-Identifier: Apache-2.0
 *
 * The checks of `zeropull verify`. What is found wrong is collected, and the check goes on.
 */
#ifndef ZP_CLI_VERIFY_H
#define ZP_CLI_VERIFY_H

#include <jansson.h>

#include "base/pool.h"
#include "builder/build.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "cli/signing.h"

struct verifier {
        struct cli_call *call;
        struct zp_store *store;
        struct zp_pool *pool;
        struct progress *progress;
        size_t problem_count;
        /* of these: not signed as wanted, and nothing else; not built again, so that nothing is known */
        size_t refused_count, unchecked_count;
        size_t published_count;                 /* found by verify_signatures, in no file of the store */
        char published_hint[ZP_ERROR_HINT_MAX]; /* what to do about the first of these; may be empty */
        const char *fetched_name;               /* of an image with a problem that a pull mends; NULL: none */
        json_t *problems;                       /* with --json; NULL: each is printed at once */
        struct cli_keys keys;                   /* that must have signed */

        struct zp_image_record *images;
        size_t image_count;
        struct zp_layer_record *layers; /* each once, as all here */
        size_t layer_count;
        struct zp_device_record *devices;
        size_t device_count;

        /* of these, removed or replaced by other processes during the check */
        size_t gone_images, gone_layers, gone_devices;
        size_t incomplete_devices; /* held by their index alone */
};

/* Fills images, layers and devices: those named on the command line, or everything in the store. */
int verify_collect(struct verifier *v, struct zp_error *err);
void verify_clear(struct verifier *v);

/* Notes a problem of an object, "layer sha256:…". Failures that say nothing about the store (interrupted, no
 * memory, no room) are no problems: they are returned, negative. */
int verify_problem(struct verifier *v, const char *object, const struct zp_error *problem);

/* What a problem is found in: an image, layer or device, by the record it was checked against. */
struct verify_subject {
        char name[100];                      /* "layer sha256:…" */
        const struct zp_image_record *image; /* one of these three */
        const struct zp_layer_record *layer;
        const struct zp_device_record *device;
        bool is_gone; /* removed or replaced since: nothing that was found counts */
};
struct verify_subject verify_image_subject(const struct zp_image_record *image);
struct verify_subject verify_layer_subject(const struct zp_layer_record *layer);
struct verify_subject verify_device_subject(const struct zp_device_record *device);
/* Takes what a check returned: a problem is noted, if its subject is still there. */
int verify_note(struct verifier *v, struct verify_subject *subject, int result, struct zp_error *err);

/* The files of the store against its records, and against each other. */
int verify_device(struct verifier *v, const struct zp_device_record *device, struct zp_error *err);
int verify_layer(struct verifier *v, const struct zp_layer_record *layer, struct zp_error *err);
int verify_image(struct verifier *v, const struct zp_image_record *image, struct zp_error *err);

/* Builds all images from their sources into a store of its own inside this one, and compares byte by byte. */
int verify_by_rebuild(struct verifier *v, const struct zp_source_options *source_options,
                      const struct zp_build_options *build_options, struct zp_error *err);

/* That each image is, by its records, a snapshot that was published in the remote (NULL: beside the image) and that all
 * the keys signed. */
int verify_signatures(struct verifier *v, const char *remote_name, const struct zp_source_options *source_options,
                      struct zp_error *err);

#endif
