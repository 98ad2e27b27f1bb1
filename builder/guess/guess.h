/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start of an image will read, guessed from the image alone: its command's programs, their libraries, and what
 * some interpreters load at their start. Nothing is run. What the guess is made of: docs/profiles.md.
 */
#ifndef ZP_BUILDER_GUESS_H
#define ZP_BUILDER_GUESS_H

#include "base/cancel.h"
#include "layer/tree.h"
#include "profile/profile.h"

struct zp_guess_image {
        struct zp_tree *tree; /* whose inodes' `scratch` is zero, and the guess's */
        /* Reads `size` bytes at `offset` of a regular file whose content is not in the tree; they lie within the file.
         * -ENODATA: the content is not to be had, which is no failure. */
        int (*read)(void *context, const struct zp_inode *inode, uint64_t offset, void *buffer, size_t size,
                    struct zp_error *err);
        void *context;
        const struct zp_cancel *cancel; /* NULL: none */
};

/* The profile of what the image's command is likely to read; one without entries when there is no command to be found.
 * `config` is the image's. The same image gives the same profile; what is malformed in it is passed over. -ECANCELED
 * however late it is cancelled. */
int zp_guess(const struct zp_guess_image *image, const char *config, size_t config_size, struct zp_profile **out,
             struct zp_error *err);

#endif
