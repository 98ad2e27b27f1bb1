/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of providers.
 */
#include <string.h>

#include "registry-hook/providers/authentication.h"
#include "registry-hook/providers/providers-internal.h"

const struct hook_provider hook_providers[] = {
        { .name = "distribution",
          .summary = "CNCF Distribution 2.x and 3.x",
          .authenticate = hook_auth_header,
          .parse = hook_distribution_parse },
        { .name = "gitlab",
          .summary = "GitLab's container registry",
          .authenticate = hook_auth_header,
          .parse = hook_distribution_parse },
        { .name = "harbor",
          .summary = "Harbor, default and CloudEvents payloads",
          .authenticate = hook_auth_header,
          .parse = hook_harbor_parse },
        { .name = "quay", .summary = "Quay", .authenticate = hook_auth_token, .parse = hook_quay_parse },
        { .name = "docker-hub",
          .summary = "Docker Hub",
          .authenticate = hook_auth_token,
          .parse = hook_docker_hub_parse },
        { .name = "github",
          .summary = "GitHub packages",
          .authenticate = hook_github_authenticate,
          .parse = hook_github_parse },
        { .name = "alibaba",
          .summary = "Alibaba Cloud ACR",
          .authenticate = hook_auth_token,
          .parse = hook_alibaba_parse },
        { .name = "azure",
          .summary = "Azure ACR, webhooks and Event Grid",
          .authenticate = hook_auth_token,
          .parse = hook_azure_parse,
          .answer = hook_azure_answer },
        { .name = "ecr",
          .summary = "AWS ECR through EventBridge",
          .authenticate = hook_auth_header,
          .parse = hook_ecr_parse },
        { .name = "google",
          .summary = "Google Artifact Registry through Pub/Sub",
          .takes_keys = true,
          .authenticate = hook_google_authenticate,
          .parse = hook_google_parse },
        { .name = "jfrog",
          .summary = "JFrog Artifactory",
          .authenticate = hook_jfrog_authenticate,
          .parse = hook_jfrog_parse },
        { .name = "nexus",
          .summary = "Sonatype Nexus 3",
          .wants_host = true,
          .authenticate = hook_nexus_authenticate,
          .parse = hook_nexus_parse },
        { .name = "zot",
          .summary = "zot",
          .wants_host = true,
          .authenticate = hook_auth_header,
          .parse = hook_zot_parse },
        { .name = "generic",
          .summary = "a reference, for CI pipelines",
          .authenticate = hook_auth_header,
          .parse = hook_generic_parse },
        { 0 },
};

const struct hook_provider *hook_provider_find(const char *name) {
        for (const struct hook_provider *provider = hook_providers; provider->name; provider++)
                if (strcmp(provider->name, name) == 0)
                        return provider;
        return NULL;
}
