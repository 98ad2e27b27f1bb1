/* SPDX-License-Identifier: Apache-2.0
 *
 * What the table has of each provider's file: its functions, as in struct hook_provider.
 */
#ifndef HOOK_PROVIDERS_PROVIDERS_INTERNAL_H
#define HOOK_PROVIDERS_PROVIDERS_INTERNAL_H

#include "oci/json.h"
#include "registry-hook/providers/provider.h"

#define HOOK_AUTHENTICATE(function) \
        int function(const struct hook_endpoint *endpoint, const struct hook_request *request, struct zp_error *err)
#define HOOK_PARSE(function)                                                                   \
        int function(const struct hook_endpoint *endpoint, const struct hook_request *request, \
                     struct hook_events *events, char *reason, struct zp_error *err)

HOOK_PARSE(hook_alibaba_parse);
HOOK_PARSE(hook_azure_parse);
bool hook_azure_answer(const struct hook_request *request, char *answer);
HOOK_PARSE(hook_distribution_parse);
HOOK_PARSE(hook_docker_hub_parse);
HOOK_PARSE(hook_ecr_parse);
HOOK_PARSE(hook_generic_parse);
HOOK_AUTHENTICATE(hook_github_authenticate);
HOOK_PARSE(hook_github_parse);
HOOK_AUTHENTICATE(hook_google_authenticate);
HOOK_PARSE(hook_google_parse);
HOOK_PARSE(hook_harbor_parse);
HOOK_AUTHENTICATE(hook_jfrog_authenticate);
HOOK_PARSE(hook_jfrog_parse);
HOOK_AUTHENTICATE(hook_nexus_authenticate);
HOOK_PARSE(hook_nexus_parse);
HOOK_PARSE(hook_quay_parse);
HOOK_PARSE(hook_zot_parse);

/* One event as CNCF Distribution writes it, which others have taken over. */
int hook_distribution_event(const struct hook_endpoint *endpoint, json_t *event, struct hook_events *events,
                            char *reason, struct zp_error *err);

#endif
