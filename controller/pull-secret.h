/* SPDX-License-Identifier: Apache-2.0
 *
 * What a Secret with a registry's credentials holds: https://kubernetes.io/docs/concepts/configuration/secret/
 */
#ifndef CONTROLLER_PULL_SECRET_H
#define CONTROLLER_PULL_SECRET_H

#include <jansson.h>

#include "base/error.h"

/* The data's keys: of type kubernetes.io/dockerconfigjson and, older, of kubernetes.io/dockercfg. */
#define CTL_DOCKER_CONFIG_JSON ".dockerconfigjson"
#define CTL_DOCKER_CFG ".dockercfg"

/* The text of one of its keys; NULL: it is not there. The object's. */
const char *ctl_pull_secret_data(json_t *secret, const char *key);
/* The credentials by registry under that key, which is there: a new reference; NULL: the config has none. Nothing else
 * of it is given: a credential helper that it names would be a program of ours. -EBADMSG: it is malformed; messages
 * have nothing of its content. */
int ctl_pull_secret_auths(json_t *secret, const char *key, json_t **auths, struct zp_error *err);

#endif
