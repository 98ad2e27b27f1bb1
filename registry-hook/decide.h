/* SPDX-License-Identifier: Apache-2.0
 *
 * From an event to the images that are to be built: asks the registry what the name stands for now, and the rules
 * which of that is marked. A payload proves nothing.
 */
#ifndef HOOK_DECIDE_H
#define HOOK_DECIDE_H

#include "base/buffer.h"
#include "registry-hook/look.h"
#include "registry-hook/queue.h"

struct hook_decision {
        struct hook_wanted *wanted;
        size_t count;
        char tag_digest[ZP_DIGEST_TEXT_SIZE]; /* what the tag names now; "": another image, or there is none */
        bool is_tag_unclear;                  /* what was looked at is not (yet, or any more) what the tag names */
        bool is_tag_gone;                     /* set by who gives up asking */
        const char *problem; /* as in struct hook_verdict; all but "broken" are set by who gives up asking */
        char text[512];      /* one line for people */
};

/* False: whatever the registry says, the event leads to nothing (`reason`, of QUEUE_REASON_SIZE, says why), so that it
 * need not be stored: our own artifacts' pushes, names no rule would build. */
bool hook_decide_may_matter(const struct hook_config *config, const struct hook_event *event, char *reason);
/* `auths`: auths.h; NULL: none. `why` (may be NULL) gets the rules' explanations. -ENOENT: the registry has nothing of
 * that name, yet or any more. Others: it did not answer, or not well; to be asked again later. `out` must be cleared in
 * any case. */
int hook_decide(const struct hook_config *config, const struct hook_event *event, const char *auths,
                const struct zp_cancel *cancel, struct zp_buffer *why, struct hook_decision *out, struct zp_error *err);
void hook_decision_clear(struct hook_decision *decision);

#endif
