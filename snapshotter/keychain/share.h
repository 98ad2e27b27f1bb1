/* SPDX-License-Identifier: Apache-2.0
 *
 * The data plane asks the control plane, which knows the credentials of pulls: a socket in the root directory, which
 * only its owner can enter. A question is a connection: "REGISTRY", NUL, "REPOSITORY", NUL, and the end; so is the
 * answer: user, password, identity token and registry token, each '-' or '+', text, NUL; nothing when none are known.
 */
#ifndef SNAP_SHARE_H
#define SNAP_SHARE_H

#include "snapshotter/keychain/keychain.h"

/* Answers from a thread of its own. The keychain must outlive it. */
struct snap_share;
int snap_share_new(const char *root, struct snap_keychain *keychain, struct snap_share **out, struct zp_error *err);
void snap_share_free(struct snap_share *share);
ZP_DEFINE_AUTO(struct snap_share, snap_share_free);

/* As struct zp_keychain wants it; the context is the root directory's path. Who does not answer within two seconds
 * knows nothing. */
int snap_share_ask(void *root, const char *registry, const char *repository, struct zp_credentials *out,
                   struct zp_error *err);

#endif
