/* SPDX-License-Identifier: Apache-2.0
 *
 * Pull secrets, as a kubelet takes them: those that an object names, and those of its service account, all of the
 * object's own namespace. Read when they are needed, each by its name, and kept no longer than that.
 */
#ifndef CTL_SECRETS_H
#define CTL_SECRETS_H

#include "controller/kube/client.h"
#include "controller/model/snapshot.h"
#include "oci/keychain.h"

#define CTL_SECRETS_MAX 32

struct ctl_secrets {
        char *names[CTL_SECRETS_MAX];
        char *configs[CTL_SECRETS_MAX]; /* Docker's config.json; NULL: it could not be read */
        size_t count;
        char problem[256]; /* the first that could not be, and why; "" */
};

/* The names alone. A service account that is not there has none; negative: the API server did not answer. */
int ctl_secrets_list(struct zp_kube *kube, const struct ctl_snapshot *snapshot, struct ctl_secrets *out,
                     struct zp_error *err);
/* The names, and what is in them. A secret that is not there, of another type, or that the controller may not read, is
 * left out (`problem`), as a kubelet does: the registry may let us in without. */
int ctl_secrets_load(struct zp_kube *kube, const struct ctl_snapshot *snapshot, struct ctl_secrets *out,
                     struct zp_error *err);
/* Wipes what was read. */
void ctl_secrets_clear(struct ctl_secrets *secrets);
#define ctl_autosecrets __attribute__((cleanup(ctl_secrets_clear)))

/* Answers from these and from nothing else; `secrets` must outlive it. */
struct zp_keychain ctl_secrets_keychain(struct ctl_secrets *secrets);
/* All of them as one Docker config.json, where the first that knows a registry counts; *out NULL: none. The caller's,
 * who wipes it. */
int ctl_secrets_merge(const struct ctl_secrets *secrets, json_t **out, struct zp_error *err);
/* One Secret as Docker's config.json: malloc'ed; -EBADMSG: it is none with credentials of registries. */
int ctl_secret_config(json_t *secret, char **out, struct zp_error *err);

#endif
