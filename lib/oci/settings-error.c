/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/settings-error.h"

#include <stddef.h>

int zp_settings_error(struct zp_error *reason, struct zp_error *err) {
        static const int of_images[] = { ENOENT, ENOTDIR, EACCES, EPERM, EBADMSG, EINVAL, EFBIG };
        for (size_t i = 0; i < sizeof of_images / sizeof *of_images; i++)
                if (reason->code == of_images[i])
                        reason->code = EIO;
        if (err)
                *err = *reason;
        return -reason->code;
}
