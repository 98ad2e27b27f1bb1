/* SPDX-License-Identifier: Apache-2.0
 *
 * The prefetch list as it lies in a store and an artifact.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "oci/json.h"
#include "profile/prefetch.h"

#define VERSION 1

int zp_prefetch_format(const struct zp_prefetch *prefetch, struct zp_buffer *out, struct zp_error *err) {
        char text[200], device[ZP_DIGEST_TEXT_SIZE];
        bool is_ok = zp_buffer_text(out, "{\"version\":1,") &&
                     zp_buffer_text(out, prefetch->is_guess ? "\"guess\":true," : "") &&
                     zp_buffer_text(out, "\"ranges\":[");
        for (uint32_t i = 0; i < prefetch->count && is_ok; i++) {
                const struct zp_prefetch_range *range = &prefetch->ranges[i];
                snprintf(text, sizeof text, "%s{\"device\":\"%s\",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 "}",
                         i ? "," : "", zp_digest_text(&range->device, device), range->offset, range->length);
                is_ok = zp_buffer_text(out, text);
        }
        return is_ok && zp_buffer_text(out, "]}\n") ? 0 : zp_error_errno(err, ENOMEM, "prefetch list");
}

static int read_range(json_t *json, const char *name, const struct zp_prefetch_device *devices, uint16_t device_count,
                      struct zp_prefetch_range *out, struct zp_error *err) {
        const char *device = NULL;
        uint64_t end;
        if (!json_is_object(json))
                return zp_error_set(err, EBADMSG, "%s: a range is no object", name);
        int r = zp_json_text(json, "device", ZP_JSON_REQUIRED, name, &device, err);
        if (r < 0 || (r = zp_json_size(json, "offset", name, &out->offset, err)) < 0 ||
            (r = zp_json_size(json, "length", name, &out->length, err)) < 0)
                return r;
        struct zp_error why = { 0 };
        if (zp_digest_parse(device, &out->device, &why) < 0)
                return zp_error_set(err, EBADMSG, "%s: %s", name, why.message);
        for (uint16_t i = 0; i < device_count; i++)
                if (zp_digest_equal(&devices[i].digest, &out->device))
                        return out->length > 0 && !zp_add_overflows(out->offset, out->length, &end) &&
                                               end <= devices[i].size
                                       ? 0
                                       : zp_error_set(err, EBADMSG, "%s: a range outside its device", name);
        return zp_error_set(err, EBADMSG, "%s: a range of %s, which is no device of the snapshot", name, device);
}

static int read_list(json_t *list, const char *name, const struct zp_prefetch_device *devices, uint16_t device_count,
                     struct zp_prefetch *out, struct zp_error *err) {
        size_t count = json_array_size(list);
        if (count > ZP_LIMIT_PREFETCH_RANGES)
                return zp_error_set(err, EBADMSG, "%s: more than %d ranges", name, ZP_LIMIT_PREFETCH_RANGES);
        zp_autofree struct zp_prefetch_range *ranges = count ? calloc(count, sizeof *ranges) : NULL;
        if (count && !ranges)
                return zp_error_errno(err, ENOMEM, "%s", name);
        for (size_t i = 0; i < count; i++) {
                int r = read_range(json_array_get(list, i), name, devices, device_count, &ranges[i], err);
                if (r < 0)
                        return r;
        }
        *out = (struct zp_prefetch){ .ranges = zp_steal(&ranges), .count = (uint32_t) count };
        return 0;
}

int zp_prefetch_parse(const char *text, size_t size, const char *name, const struct zp_prefetch_device *devices,
                      uint16_t device_count, struct zp_prefetch *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *json = NULL;
        json_t *list = NULL, *guess = NULL;
        uint64_t version = 0;
        int r = zp_json_load(text, size, name, &json, err);
        if (r < 0)
                return r == -EFBIG ? zp_error_set(err, EBADMSG, "%s: too large", name) : r;
        if ((r = zp_json_size(json, "version", name, &version, err)) < 0)
                return r;
        if (version != VERSION)
                return zp_error_set(err, EBADMSG, "%s: unknown version %" PRIu64, name, version);
        r = zp_json_get(json, "guess", JSON_TRUE, ZP_JSON_OPTIONAL, name, &guess, err);
        if (r == 0)
                r = zp_json_get(json, "ranges", JSON_ARRAY, ZP_JSON_REQUIRED, name, &list, err);
        if (r == 0)
                r = read_list(list, name, devices, device_count, out, err);
        out->is_guess = r == 0 && guess;
        return r;
}
