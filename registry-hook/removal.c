/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/removal.h"

#include <string.h>

#include "base/buffer.h"
#include "oci/reference.h"
#include "oci/transfer.h"
#include "registry-hook/look.h"
#include "ship/withdraw.h"

int hook_removal_is_there(const struct hook_registry *config, const char *host, const char *repository,
                          const char *digest, const struct zp_cancel *cancel, bool *is_there, struct zp_error *err) {
        struct zp_source_options options = hook_registry_options(config, cancel);
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        struct zp_http_request request = { .is_for_push = true, .method = "HEAD", .accept = ZP_ACCEPT_MANIFESTS };
        struct zp_http_response response = { 0 };
        zp_autofree char *path = zp_format("manifests/%s", digest);
        int r = path ? zp_registry_new(host, repository, &options, &registry, err)
                     : zp_error_errno(err, ENOMEM, "removal");
        if (r == 0)
                r = zp_registry_request(registry, path, &request, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(registry, &response, err);
        zp_http_response_clear(&response);
        if (r == 0 || r == -ENOENT)
                *is_there = r == 0;
        return r == -ENOENT ? 0 : r;
}

int hook_removal_has(const struct hook_config *config, const char *target, const char *artifact,
                     const struct zp_cancel *cancel, bool *is_there, struct zp_error *err) {
        struct zp_reference reference;
        *is_there = true;
        if (strncmp(target, "docker://", 9) != 0 || zp_reference_parse(target + 9, &reference, NULL) < 0)
                return 0;
        const struct hook_registry *entry = hook_config_registry(config, reference.registry);
        int r = entry ? hook_removal_is_there(entry, reference.registry, reference.repository, artifact, cancel,
                                              is_there, err)
                      : 0;
        zp_reference_clear(&reference);
        return r;
}

int hook_removal_remove(const struct hook_config *config, const char *target, const char *digest, const char *artifact,
                        const struct zp_cancel *cancel, struct zp_error *err) {
        static const char scheme[] = "docker://";
        struct zp_reference reference;
        if (strncmp(target, scheme, strlen(scheme)) != 0)
                return zp_error_set(err, ENOTSUP, "'%s' is not of a registry", target);
        int r = zp_reference_parse(target + strlen(scheme), &reference, err);
        if (r < 0)
                return r;
        const struct hook_registry *entry = hook_config_registry(config, reference.registry);
        if (!entry)
                r = zp_error_set(err, ENOENT, "registry %s is not in the configuration", reference.registry);
        zp_reference_clear(&reference);
        if (r < 0)
                return r;
        struct zp_source_options options = hook_registry_options(entry, cancel);
        return zp_withdraw(target, digest, artifact, &options, err);
}
