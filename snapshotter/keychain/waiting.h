/* SPDX-License-Identifier: Apache-2.0
 *
 * Whose pods wait for an image, by the word of the node's agent (zeropull-node(8)), where the kubelet's calls do not
 * come by here. A question is a connection: the image's reference, and the end. The answer is a document:
 *   {"pullers": [{"username": …, "password": …} | {"identityToken": …} | {"registryToken": …} | {} …]}
 * with {} for a pod whose pull secrets say nothing of the image's registry.
 */
#ifndef SNAP_WAITING_H
#define SNAP_WAITING_H

#include "base/cancel.h"
#include "snapshotter/keychain/keychain.h"

/* Of an answer. */
#define SNAP_WAITING_MAX ((size_t) 1 << 20)

struct snap_waiting_patience {
        unsigned begin_ms;              /* until the agent is there, which may begin a little later than we do */
        unsigned answer_ms;             /* until it has answered, all of it */
        const struct zp_cancel *cancel; /* ends either wait */
};

/* Those that may be pulling the image, each once, with is_waiting; *out malloc'ed, *count 0: nobody waits for it.
 * `path`: the agent's socket. -EHOSTDOWN: it is not there, or does not answer, for so long; -EBADMSG; -ECANCELED;
 * zp_unix_connect()'s others. */
int snap_waiting_pullers(const char *path, struct snap_keychain *keychain, const char *reference,
                         const struct snap_waiting_patience *patience, struct snap_puller **out, size_t *count,
                         struct zp_error *err);

#endif
