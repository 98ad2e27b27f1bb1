/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/remote-names.h"

#include <string.h>

#include "base/buffer.h"
#include "oci/reference.h"

#define DIRECTORY_PREFIX "dir:"

const char *cli_remote_name_of(char *const *names, const char *text) {
        for (char *const *name = names; name && *name; name++)
                if (strstr(*name, text))
                        return *name;
        for (char *const *name = names; name && *name; name++)
                if (strncmp(*name, ZP_REGISTRY_SCHEME, strlen(ZP_REGISTRY_SCHEME)) == 0)
                        return *name;
        return names ? names[0] : NULL;
}

const char *cli_remote_local_path(const struct zp_remote *remote, const struct zp_source_options *options) {
        const char *name = zp_remote_name(remote);
        bool is_directory = strncmp(name, DIRECTORY_PREFIX, strlen(DIRECTORY_PREFIX)) == 0;
        return is_directory ? name + strlen(DIRECTORY_PREFIX) : options->ca_file;
}

int cli_remote_beside(const char *image_name, const char *hint, char **out, struct zp_error *err) {
        struct zp_reference reference;
        int r = zp_reference_of_name(image_name, &reference, err);
        if (r == -ENOTSUP) {
                zp_error_set(err, EINVAL, "'%s' is not in a registry, where its snapshot could be beside it",
                             image_name);
                zp_error_hint(err, "%s", hint);
                return -EINVAL;
        }
        if (r < 0)
                return r;
        *out = zp_format(ZP_REGISTRY_SCHEME "%s/%s", reference.registry, reference.repository);
        zp_reference_clear(&reference);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "remote");
}
