/* SPDX-License-Identifier: Apache-2.0
 *
 * Which Kubernetes API server to talk to, and as whom: a kubeconfig, or what a pod finds in itself.
 *
 * Read from kubeconfigs (https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/): clusters (server,
 * certificate-authority[-data], insecure-skip-tls-verify, tls-server-name, proxy-url), users
 * (client-certificate[-data], client-key[-data], token, tokenFile, username and password, exec), contexts. What they
 * name is read again while the client runs (client.h), so tokens, certificates and authorities may rotate.
 */
#ifndef KUBE_CONFIG_H
#define KUBE_CONFIG_H

#include "base/cleanup.h"
#include "base/error.h"

/* Immutable once loaded: any thread. */
struct zp_kube_config;

struct zp_kube_config_choice {
        /* NULL, or "": the files of $KUBECONFIG (a list with ':'; of each name the first definition counts, files that
         * do not exist are left out), else the pod's own service account, else ~/.kube/config. */
        const char *kubeconfig;
        const char *context; /* NULL: the current one */
};

/* -ENOENT: none of these places says anything (with a hint). -EINVAL: "path:line: what". */
int zp_kube_config_load(const struct zp_kube_config_choice *choice, struct zp_kube_config **out, struct zp_error *err);
void zp_kube_config_free(struct zp_kube_config *config);
ZP_DEFINE_AUTO(struct zp_kube_config, zp_kube_config_free);

/* "https://HOST[:PORT][/PATH]", for messages. */
const char *zp_kube_config_server(const struct zp_kube_config *config);
/* The pod's namespace or the context's; "default" when neither says. */
const char *zp_kube_config_namespace(const struct zp_kube_config *config);

#endif
