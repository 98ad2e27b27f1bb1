/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/target.h"

#include <string.h>

#include "oci/url.h"

const struct hook_registry *hook_target_registry(const struct hook_config *config, const char *target,
                                                 const struct hook_registry *otherwise) {
        char host[ZP_URL_HOST_SIZE];
        if (strncmp(target, "docker://", 9) != 0)
                return otherwise;
        const struct hook_registry *found = hook_config_registry(config, zp_url_host(target, host));
        return found ? found : otherwise;
}

int hook_target_check(const struct hook_registry *image, const struct hook_registry *target, struct zp_error *err) {
        if (image->plain_http != target->plain_http)
                return zp_error_set(err, EINVAL,
                                    "registries '%s' and '%s': one build cannot use two values of 'plain-http'",
                                    image->host, target->host);
        if (target->ca_file && (!image->ca_file || strcmp(image->ca_file, target->ca_file) != 0))
                return zp_error_set(
                        err, EINVAL,
                        "registries '%s' and '%s': one build cannot use two values of 'ca-file': one file may "
                        "have the authorities of both",
                        image->host, target->host);
        return 0;
}
