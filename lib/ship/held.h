/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether what the store holds of an image is a snapshot that somebody published, and may be trusted as that one is.
 */
#ifndef ZP_SHIP_HELD_H
#define ZP_SHIP_HELD_H

#include "ship/artifact.h"
#include "ship/pull.h"

/* Looks for an artifact in the remote that describes just what the store's records say of this image: the metadata
 * of the snapshot and of each layer, and the devices, whose names are the digests of their indexes; and that passes
 * `check`. With `with_packs` the packs that are here are read, and their digests must be the artifact's, too. Whether
 * the files are what the records say is `verify`'s work.
 *
 * -ENOENT: no snapshot of this image is there, -EBADMSG: those that are there are others, -EACCES or what `check` says
 * else: the one that it is does not pass. *digest (may be NULL) is which one it is, *artifact (may be NULL; to be
 * cleared) what that says. */
int zp_held_check(struct zp_store *store, const struct zp_image_record *image, struct zp_remote *remote,
                  zp_pull_check check, void *context, bool with_packs, struct zp_digest *digest,
                  struct zp_artifact *artifact, struct zp_error *err);

/* The comparison alone. */
int zp_held_compare(struct zp_store *store, const struct zp_image_record *image, const struct zp_artifact *artifact,
                    bool with_packs, struct zp_error *err);

#endif
