/* SPDX-License-Identifier: Apache-2.0
 *
 * What was found out about images, for a while: of those who want to know the same at the same time one finds it out.
 */
#ifndef SNAP_ANSWERS_H
#define SNAP_ANSWERS_H

#include "base/cleanup.h"
#include "base/digest.h"

/* May this image be had from here, by this puller? */
struct snap_question {
        struct zp_digest manifest_digest;
        const char *reference;
        uint8_t puller[16]; /* who asks; zeros: the node itself */
};

enum snap_answer { SNAP_ANSWER_UNKNOWN, SNAP_ANSWER_BAD, SNAP_ANSWER_GOOD };

/* Thread-safe. */
struct snap_answers;
int snap_answers_new(struct snap_answers **out, struct zp_error *err);
void snap_answers_free(struct snap_answers *answers);
ZP_DEFINE_AUTO(struct snap_answers, snap_answers_free);

/* What is known; when that is BAD, and it was said, *why. Waits for somebody who is about to find out. UNKNOWN: that is
 * the caller, who gives the answer, with *slot, whatever happens. Too many questions at once: BAD. */
enum snap_answer snap_answers_ask(struct snap_answers *answers, const struct snap_question *question, size_t *slot,
                                  struct zp_error *why);
/* Good for so many seconds. UNKNOWN: the caller gave up. `why`, for a BAD one; NULL: it is not said. */
void snap_answers_give(struct snap_answers *answers, size_t slot, enum snap_answer answer, unsigned seconds,
                       const struct zp_error *why);
/* Whoever asked for this image: it was there, and is not any more. */
void snap_answers_forget(struct snap_answers *answers, const struct zp_digest *manifest);

#endif
