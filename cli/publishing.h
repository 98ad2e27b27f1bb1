/* SPDX-License-Identifier: Apache-2.0
 *
 * How `push` and `build --push` tell of a push.
 */
#ifndef ZP_CLI_PUBLISHING_H
#define ZP_CLI_PUBLISHING_H

#include "cli/output.h"
#include "cli/progress.h"
#include "ship/push.h"
#include "trust/key.h"

struct publishing {
        struct progress *progress;
        unsigned first_task; /* of the progress: a blob's is that plus its number */
};

/* `publishing` outlives the push. */
struct zp_push_events publishing_events(struct publishing *publishing);
/* What came of the push, to say or to add to `object` (false: out of memory); `key` signed it, NULL: none did. */
void publishing_say_result(struct publishing *publishing, const struct zp_remote *remote,
                           const struct zp_push_result *result, const struct zp_key *key);
bool publishing_add_json(json_t *object, const struct zp_remote *remote, const struct zp_push_result *result,
                         const struct zp_key *key);

#endif
