/* SPDX-License-Identifier: Apache-2.0
 *
 * Which images are marked: the first rule that fits decides.
 */
#ifndef HOOK_RULES_H
#define HOOK_RULES_H

#include <jansson.h>

#include "base/buffer.h"
#include "registry-hook/config.h"

/* What is known of an image. */
struct hook_facts {
        const char *host, *repository;
        const char *tag;                                  /* "" without one */
        const char *platform;                             /* "linux/arm64/v8" */
        uint64_t size;                                    /* of its compressed layers, bytes */
        json_t *labels, *annotations, *index_annotations; /* objects or NULL */
};

/* False: no rule would build anything of this name, whatever the image is like. */
bool hook_rules_may_build(const struct hook_config *config, const char *host, const char *repository, const char *tag);
/* False: none of those that may build the name takes this platform, so that it need not be looked at. */
bool hook_rules_want_platform(const struct hook_config *config, const char *host, const char *repository,
                              const char *tag, const char *platform);
/* The rule that decides (it may say skip); NULL: none fits. `why` (may be NULL) gets a line for each rule up to
 * there. */
const struct hook_rule *hook_rules_find(const struct hook_config *config, const struct hook_facts *facts,
                                        struct zp_buffer *why);

#endif
