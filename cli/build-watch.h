/* SPDX-License-Identifier: Apache-2.0
 *
 * What `build` does with the events of a build: it shows how far it is, and sends what is ready.
 */
#ifndef ZP_CLI_BUILD_WATCH_H
#define ZP_CLI_BUILD_WATCH_H

#include "base/limits.h"
#include "builder/build.h"
#include "cli/output.h"
#include "cli/publishing.h"

/* What is sent while it is still being made; before the build: store, remote, key, publishing and options. */
struct build_shipping {
        struct zp_store *store;
        struct zp_remote *remote; /* NULL: nothing is sent */
        struct zp_key *key;       /* NULL: it is not signed */
        struct zp_push *push;     /* NULL until the image is found */
        struct zp_error error;    /* it could not begin */
        struct publishing publishing;
        struct zp_digest image;
        struct zp_push_options options;
        struct zp_push_result result;
};

/* What the events need to know of the image; all but progress and shipping is theirs. */
struct build_watch {
        struct progress *progress;
        struct zp_cancel cancel; /* of the build */
        struct build_shipping shipping;
        bool is_found;
        uint16_t layer_count;
        uint64_t sizes[ZP_LIMIT_LAYERS];
        struct zp_digest diff_ids[ZP_LIMIT_LAYERS];
        char digests[ZP_LIMIT_LAYERS][CLI_SHORT_DIGEST];
        bool checked[ZP_LIMIT_LAYERS];
};

/* `w` outlives the build. w->cancel is set when there is no use in going on: w->shipping.error says why. */
struct zp_build_events build_watch_events(struct build_watch *w);

#endif
