/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings about data: where it may already be, how much of it is kept, and what is fetched before it is read.
 *
 *   preloads: [/mnt/images]       # store directories that are only read
 *   cache_limit: 50G              # of the local copies of devices, on disk
 *   background_bandwidth: 20M     # bytes per second
 *   complete: started             # never, started, always
 *   complete_images:
 *   - images: registry.example/web            # with a star at its end: all that begins so
 *     complete: never
 */
#ifndef SNAP_CONFIG_DATA_H
#define SNAP_CONFIG_DATA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/yaml.h"

/* Which devices are fetched to their end although nobody reads them. */
enum snap_completion {
        SNAP_COMPLETE_NEVER,
        SNAP_COMPLETE_STARTED, /* that were mounted */
        SNAP_COMPLETE_ALWAYS   /* of every image in the store */
};

struct snap_completion_rule {
        char *images; /* registry/repository; for a prefix, all before the '*' */
        bool is_prefix;
        enum snap_completion completion;
};

struct snap_config_data {
        char **preloads;                            /* NULL-terminated, or NULL: none */
        uint64_t cache_limit, background_bandwidth; /* bytes, bytes per second; 0: no limit */
        enum snap_completion completion;            /* of images that no rule is about */
        struct snap_completion_rule *rules;         /* the first that fits counts */
        size_t rule_count;
};

enum {
        SNAP_PRELOADS,
        SNAP_CACHE_LIMIT,
        SNAP_BACKGROUND_BANDWIDTH,
        SNAP_COMPLETE,
        SNAP_COMPLETE_IMAGES,
        SNAP_DATA_SETTINGS
};

/* `values`: one for each of the above, NULL when not given. `config` is zeroed, and to be cleared in any case. */
int snap_config_read_data(struct zp_yaml *yaml, yaml_node_t *const *values, struct snap_config_data *config);
void snap_config_clear_data(struct snap_config_data *config);

/* What the settings say of images of "registry/repository" (NULL: not known). */
enum snap_completion snap_config_completion(const struct snap_config_data *config, const char *images);

#endif
