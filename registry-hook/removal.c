/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/removal.h"

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

/* A target's repository, and its registry's entry. -ENOTSUP: it is in no registry; -ENOENT: there is no entry. */
static int find_place(const struct hook_config *config, const char *target, struct zp_reference *out,
                      const struct hook_registry **entry, struct zp_error *err) {
        int r = zp_reference_of_name(target, out, err);
        if (r < 0)
                return r;
        *entry = hook_config_registry(config, out->registry);
        if (*entry)
                return 0;
        r = zp_error_set(err, ENOENT, "registry %s is not in the configuration", out->registry);
        zp_reference_clear(out);
        return r;
}

int hook_removal_has(const struct hook_config *config, const char *target, const char *artifact,
                     const struct zp_cancel *cancel, bool *is_there, struct zp_error *err) {
        struct zp_reference place;
        const struct hook_registry *entry;
        *is_there = true;
        if (find_place(config, target, &place, &entry, NULL) < 0)
                return 0;
        int r = hook_removal_is_there(entry, place.registry, place.repository, artifact, cancel, is_there, err);
        zp_reference_clear(&place);
        return r;
}

int hook_removal_remove(const struct hook_config *config, const char *target, const char *digest, const char *artifact,
                        const struct zp_cancel *cancel, struct zp_error *err) {
        struct zp_reference place;
        const struct hook_registry *entry;
        int r = find_place(config, target, &place, &entry, err);
        if (r < 0)
                return r;
        zp_reference_clear(&place);
        struct zp_source_options options = hook_registry_options(entry, cancel);
        return zp_withdraw(target, digest, artifact, &options, err);
}
