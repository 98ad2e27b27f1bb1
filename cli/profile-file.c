/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/profile-file.h"

#include <fcntl.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/limits.h"
#include "builder/start.h"

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

int cli_profile_effect(struct zp_store *store, const struct zp_image_record *image, uint64_t *bytes,
                       struct zp_error *err) {
        zp_autofree struct zp_device_record *records = NULL;
        zp_autofree struct zp_prefetch_device *devices = NULL;
        struct zp_prefetch list = { 0 };
        size_t count = 0;
        *bytes = 0;
        int r = zp_store_list_devices_of(store, &image->manifest_digest, &records, &count, err);
        if (r == 0 && !(devices = calloc(count + 1, sizeof *devices)))
                r = zp_error_errno(err, ENOMEM, "prefetch list");
        if (r < 0)
                return r;
        for (size_t i = 0; i < count; i++)
                devices[i] = (struct zp_prefetch_device){ records[i].digest, records[i].device_size };
        r = zp_start_read_list(store, &image->manifest_digest, devices, (uint16_t) count, &list, err);
        for (uint32_t i = 0; i < list.count; i++)
                *bytes += list.ranges[i].length;
        zp_prefetch_clear(&list);
        return r < 0 ? r : 0;
}
