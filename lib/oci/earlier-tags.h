/* SPDX-License-Identifier: Apache-2.0
 *
 * Which tags of a repository name earlier versions, as far as their text can tell.
 */
#ifndef ZP_OCI_EARLIER_TAGS_H
#define ZP_OCI_EARLIER_TAGS_H

#include <stddef.h>

/* Of `tags` the `max` nearest versions before `tag`, newest first, into `out` (pointers to those of `tags`); gives how
 * many. A version is a text with numbers in it. Two are compared number by number, whatever their lengths, when all
 * other text is the same: 1.9-alpine comes before 1.10-alpine, and has nothing to do with 1.9 or 1.9.1-alpine. */
size_t zp_earlier_tags(const char *tag, char *const *tags, size_t count, const char **out, size_t max);

#endif
