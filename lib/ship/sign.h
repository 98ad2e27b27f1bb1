/* SPDX-License-Identifier: Apache-2.0
 *
 * Signatures where the snapshots are: put beside a snapshot artifact, and found there again.
 */
#ifndef ZP_SHIP_SIGN_H
#define ZP_SHIP_SIGN_H

#include "remote/remote.h"
#include "trust/signature.h"

/* Signatures of one artifact that are looked at; whoever may push can add any number. */
#define ZP_SIGNATURES_MAX 64u

/* Signs an artifact that was published (zp_push_result) as the snapshot of `subject`, and publishes the signature as
 * an artifact about it. Signing again with the same key changes nothing. Needs no more than was needed to publish. */
int zp_sign_published(struct zp_remote *remote, const struct zp_key *key, const struct zp_digest *artifact,
                      uint64_t artifact_size, const struct zp_digest *subject, struct zp_error *err);

/* The well-formed signatures beside an artifact, of the first ZP_SIGNATURES_MAX that there are: what they say, true or
 * not. Others are left out without a word, as they count for nothing. *out malloc'ed; none is no error. */
int zp_sign_find(struct zp_remote *remote, const struct zp_digest *artifact, struct zp_signature **out, size_t *count,
                 struct zp_error *err);

#endif
