/* SPDX-License-Identifier: Apache-2.0
 *
 * Has an image's snapshot in the store, for somebody who may read the image.
 */
#ifndef SNAP_ACQUIRE_H
#define SNAP_ACQUIRE_H

#include "base/cancel.h"
#include "oci/learned.h"
#include "snapshotter/keychain/keychain.h"
#include "snapshotter/data/preload.h"
#include "store/store.h"

struct snap_acquire_options {
        struct zp_store *store;
        const char *policy;    /* file; NULL: /etc/zeropull/policy.yaml, when it is there */
        const char *auth_file; /* see struct zp_source_options */
        const char *ca_file;
        struct snap_preloads *preloads; /* stores that are only read; NULL: none */
        bool check_rights;              /* what is in the store is for those whom the registry lets read the image */
        unsigned timeout_ms;
        struct zp_learned *learned;     /* about registries; NULL: nothing is kept */
        struct snap_keychain *keychain; /* remembers who may read; NULL: nobody does */
};

/* For `puller`, the image's manifest as `reference` finds it. When the store has no snapshot that the policy accepts,
 * one in a preload is taken over, but where the policy wants to see signatures; else it is fetched from beside the
 * image, for which the registry wants the puller's credentials. When it has, the registry is asked whether the puller
 * may read the manifest; if the snapshot came from another repository, that one as well, for who offers a manifest need
 * not have what it names. Credentials are shown to the reference's registry only. `puller` NULL: the node itself, with
 * what the files say. -EACCES: the reference's registry did not confirm; -EPERM: the other one did not. */
int snap_acquire(const struct snap_acquire_options *options, const struct zp_digest *manifest, const char *reference,
                 const struct snap_puller *puller, const struct zp_cancel *cancel, struct zp_error *err);

/* For what has been granted before: with what the keychain remembers, or the files say; no right is asked for. */
int snap_acquire_again(const struct snap_acquire_options *options, const struct zp_digest *manifest,
                       const char *reference, const struct zp_cancel *cancel, struct zp_error *err);

#endif
