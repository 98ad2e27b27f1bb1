/* SPDX-License-Identifier: Apache-2.0
 *
 * Pull secrets: from the API server to what `zeropull --auth-file` reads, in memory only.
 */
#ifndef NODE_SECRETS_H
#define NODE_SECRETS_H

#include <jansson.h>

#include "base/error.h"

struct zp_kube;

/* Adds what one Secret (type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg) has to `auths`, an object by
 * registry; what is there already stays. -EBADMSG: no such Secret; messages have nothing of its content. */
int node_secret_add(json_t *secret, json_t *auths, struct zp_error *err);

/* Reads the Secrets [{namespace, name}]. *text: a docker config, malloc'ed, to be wiped by node_secret_free(); NULL:
 * there are none, or they have nothing. One that is not there, may not be read or is no pull secret is passed over,
 * since others' may do; *unread says why, of the first. `timeout_ms`, for each: one that the API server does not say so
 * much of in this time ends it, with what the server said, or -ETIMEDOUT. 0: there is time, and it is passed over as
 * well. Else -ENOMEM, -ECANCELED only. */
int node_secrets_read(struct zp_kube *kube, json_t *secrets, unsigned timeout_ms, char **text, struct zp_error *unread,
                      struct zp_error *err);
void node_secret_free(char *text);

#endif
