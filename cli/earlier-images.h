/* SPDX-License-Identifier: Apache-2.0
 *
 * Which images of a repository may be earlier versions of an image, by their tags.
 */
#ifndef ZP_CLI_EARLIER_IMAGES_H
#define ZP_CLI_EARLIER_IMAGES_H

#include "cli/cli.h"
#include "oci/source.h"

#define CLI_EARLIER_MAX 3
#define CLI_EARLIER_NAME_SIZE 1024

struct cli_earlier_images {
        unsigned count;
        char names[CLI_EARLIER_MAX][CLI_EARLIER_NAME_SIZE]; /* as sources have them, the nearest version first */
};

/* Asks the registry of an image for its repository's tags: one request, answered by a process of its own until the
 * deadline. None for an image that is not in a registry, or has no tag with a number in it. */
int cli_earlier_images(struct cli_call *call, const char *image, const struct zp_source_options *options,
                       uint64_t deadline_ms, struct cli_earlier_images *out, struct zp_error *err);

#endif
