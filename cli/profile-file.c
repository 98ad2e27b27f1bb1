/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/profile-file.h"

#include <fcntl.h>

#include "base/file.h"
#include "base/limits.h"

int cli_add_profile(struct zp_profile *profile, const char *file, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, file, ZP_LIMIT_PROFILE_SIZE, &text, &size, err);
        return r < 0 ? r : zp_profile_parse(profile, text, size, file, err);
}

int cli_load_profile(struct cli_call *call, const char *file, struct zp_profile **out, struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        if (!file)
                return 0;
        int r = profile ? cli_add_profile(profile, file, err) : zp_error_errno(err, ENOMEM, "profile '%s'", file);
        if (r < 0)
                return cli_file_failed(call, r);
        *out = zp_steal(&profile);
        return 0;
}
