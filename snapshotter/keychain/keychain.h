/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose pulls are under way, with which credentials: what kubelet says when it asks containerd to pull an image. Kept
 * in memory only, and wiped when it is forgotten.
 *
 * Two questions are answered. As whom does a layer of this image arrive now? As all that pull it. And what may the
 * node itself show to read on, long after the pull? The credentials that were last confirmed for the repository.
 */
#ifndef SNAP_KEYCHAIN_H
#define SNAP_KEYCHAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "oci/keychain.h"

/* Confirmed credentials are kept for a day, of so many repositories at most; then the ones confirmed first go. */
#define SNAP_KEYCHAIN_MEMORY 256
#define SNAP_KEYCHAIN_MEMORY_S 86400

/* As containerd names an image: in full, and with a digest without the tag. malloc'ed. -EINVAL: not a reference. */
int snap_keychain_normal_name(const char *reference, char **out, struct zp_error *err);

/* Thread-safe. */
struct snap_keychain;
int snap_keychain_new(struct snap_keychain **out, struct zp_error *err);
void snap_keychain_free(struct snap_keychain *keychain);
ZP_DEFINE_AUTO(struct snap_keychain, snap_keychain_free);

/* A pull of an image begins; *number, which is not 0, ends it. `credentials` (all NULL: none) are the keychain's from
 * now on, also on failure. -EINVAL: not a reference. */
int snap_keychain_begin(struct snap_keychain *keychain, const char *reference, struct zp_credentials *credentials,
                        uint64_t *number, struct zp_error *err);
/* `is_cut`: nobody waits for its end any more, but containerd may still be at it; it counts for ten seconds. */
void snap_keychain_end(struct snap_keychain *keychain, uint64_t number, bool is_cut);

/* Who pulls. */
struct snap_puller {
        struct zp_credentials credentials;
        uint8_t fingerprint[16]; /* the same for the same credentials, as long as the keychain lives */
        bool is_waiting;         /* for the image, and perhaps not who pulls it now (waiting.h) */
};
/* Fills in the fingerprint of its credentials. */
int snap_keychain_identify(const struct snap_keychain *keychain, struct snap_puller *puller, struct zp_error *err);
void snap_pullers_free(struct snap_puller *pullers, size_t count);
/* Those that pull this image now, each once; *out malloc'ed, *count 0: none. */
int snap_keychain_pullers(struct snap_keychain *keychain, const char *reference, struct snap_puller **out,
                          size_t *count, struct zp_error *err);

/* The registry has confirmed that these may read from the repository. */
void snap_keychain_remember(struct snap_keychain *keychain, const char *registry, const char *repository,
                            const struct zp_credentials *credentials);
/* 1: *out is what was remembered, to be cleared; 0: nothing. With a struct snap_keychain as context, what a struct
 * zp_keychain wants. */
int snap_keychain_recall(void *keychain, const char *registry, const char *repository, struct zp_credentials *out,
                         struct zp_error *err);

#endif
