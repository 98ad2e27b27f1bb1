/* SPDX-License-Identifier: Apache-2.0
 *
 * What a registry holds under a name, as far as rules ask.
 */
#ifndef HOOK_LOOK_H
#define HOOK_LOOK_H

#include <jansson.h>

#include "base/cancel.h"
#include "oci/keychain.h"
#include "oci/manifest.h"
#include "registry-hook/config.h"

#define HOOK_BROKEN_SIZE 400

struct hook_image {
        char digest[ZP_DIGEST_TEXT_SIZE]; /* of the platform's manifest */
        char platform[100];
        uint64_t size; /* compressed layers, bytes */
        json_t *labels, *annotations;
};

struct hook_look {
        char digest[ZP_DIGEST_TEXT_SIZE]; /* of what the name stands for: an index or a manifest */
        bool is_current;  /* the tag names it now; false without a tag, and when another push has come or is to come */
        bool is_artifact; /* no image: a signature, an attestation, a snapshot of ours */
        char broken[HOOK_BROKEN_SIZE];  /* why an image can never be built; of an index, the first such; "": none */
        char nothing[HOOK_BROKEN_SIZE]; /* why an index that is not broken has no image to look at; "": it has */
        json_t *index_annotations;
        struct hook_image *images;
        size_t image_count;
};

struct hook_look_request {
        const struct hook_registry *registry;
        const char *host, *repository;
        const char *tag;                /* "": none */
        const struct zp_digest *digest; /* what is looked at; NULL: whatever the tag names */
        /* Which of an index's platforms are looked at. */
        bool (*wants)(const void *context, const char *platform);
        const void *context;
        const struct zp_keychain *keychain; /* asked before the configuration; NULL: none */
        const struct zp_cancel *cancel;
};
/* Asks the registry; each document is checked against its digest. `out` must be cleared in any case. -ENOENT: nothing
 * of that name; others may pass. What can never be otherwise, the bytes of a digest, is no error but `broken`. */
int hook_look(const struct hook_look_request *request, struct hook_look *out, struct zp_error *err);
void hook_look_clear(struct hook_look *look);

/* The registry's way in, by its configuration. */
struct zp_source_options hook_registry_options(const struct hook_registry *registry, const struct zp_cancel *cancel);

#endif
