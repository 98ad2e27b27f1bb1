/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of the store, each read whole into memory.
 */
#ifndef ZP_STORE_WHOLE_FILE_H
#define ZP_STORE_WHOLE_FILE_H

#include "store/store.h"

/* Reads all of an open file, of at most `max` bytes, whatever the descriptor's position. `digest` is what the content
 * must have; NULL: that is not known. *out is malloc'ed, the caller's, with a NUL behind its *size bytes; untouched on
 * failure. `name` is for the message. -EBADMSG: larger, or another digest; -ENOMEM. */
int zp_store_read_whole(int fd, const char *name, uint64_t max, const struct zp_digest *digest, char **out,
                        size_t *size, struct zp_error *err);

/* So a file of an image, as zp_store_open_image_file opens it: -ENOENT when it is not there. */
int zp_store_read_image_file(struct zp_store *store, const struct zp_digest *manifest_digest, const char *file,
                             uint64_t max, const struct zp_digest *digest, char **out, size_t *size,
                             struct zp_error *err);

#endif
