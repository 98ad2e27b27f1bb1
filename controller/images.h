/* SPDX-License-Identifier: Apache-2.0
 *
 * What the controller asks registries: what a name stands for, and whether the snapshot is there.
 */
#ifndef CTL_IMAGES_H
#define CTL_IMAGES_H

#include "base/cancel.h"
#include "controller/config.h"
#include "controller/secrets.h"
#include "oci/learned.h"

/* How one object's images are asked for. */
struct ctl_images {
        const struct ctl_config *config;
        struct ctl_secrets *secrets;
        struct zp_learned *learned; /* about registries; NULL: nothing is kept */
        const struct zp_cancel *cancel;
};

/* The manifest of the image for the platform, and nothing that cannot be turned into a snapshot. -ENOENT: there is no
 * such image; -EACCES: it may not be read; -ENOTSUP: no image, or not Linux's; -EINVAL: no name. Others: no answer, or
 * none that means anything. */
int ctl_images_resolve(const struct ctl_images *images, const char *image, const char *platform,
                       char digest[ZP_DIGEST_TEXT_SIZE], struct zp_error *err);
/* What the tag names now, manifest or index, by one request without a body; "" when the registry does not say. */
int ctl_images_head(const struct ctl_images *images, const char *image, char digest[ZP_DIGEST_TEXT_SIZE],
                    struct zp_error *err);
/* The newest snapshot of the manifest in `remote`; "": there is none. */
int ctl_images_published(const struct ctl_images *images, const char *remote, const char *digest,
                         char snapshot[ZP_DIGEST_TEXT_SIZE], struct zp_error *err);
/* Removes a snapshot: zp_withdraw(). */
int ctl_images_withdraw(const struct ctl_images *images, const char *remote, const char *digest, const char *snapshot,
                        struct zp_error *err);

/* Where an object's snapshots go: "docker://HOST/REPOSITORY"; malloc'ed. */
int ctl_images_remote(const struct ctl_spec *spec, const char *image, char **out, struct zp_error *err);

#endif
