/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "oci/reference.h"

#define DOCKER_ARCHIVE "docker-archive:"

/* What is behind the path, ":TAG", as the store has it: an archive's images have full names there. malloc'ed; NULL: no
 * memory. */
static char *recorded_suffix(const char *scheme, const char *suffix) {
        struct zp_reference reference;
        if (strcmp(suffix, ":") == 0)
                return strdup("");
        if (strcmp(scheme, DOCKER_ARCHIVE) != 0 || suffix[0] != ':' || suffix[1] == '@' ||
            zp_reference_parse(suffix + 1, &reference, NULL) < 0)
                return strdup(suffix);
        zp_autofree char *text = zp_reference_text(&reference);
        zp_reference_clear(&reference);
        return text ? zp_format(":%s", text) : NULL;
}

/* Without symbolic links; of a file that is gone, its directory's. NULL: that is gone, too. malloc'ed. */
static char *resolved(const char *given) {
        char *path = realpath(given, NULL);
        if (path || errno != ENOENT)
                return path;
        const char *slash = strrchr(given, '/'), *name = slash ? slash + 1 : given;
        zp_autofree char *parent = slash ? strndup(given, (size_t) (slash - given) + 1) : strdup(".");
        zp_autofree char *directory = parent ? realpath(parent, NULL) : NULL;
        return directory ? zp_format("%s/%s", strcmp(directory, "/") == 0 ? "" : directory, name) : NULL;
}

/* "oci:DIR:TAG" as the store has it: with the absolute path, without symbolic links where it is there. NULL: not such a
 * name. malloc'ed. */
static char *recorded_name(const char *name) {
        static const char *const schemes[] = { "oci:", "oci-archive:", DOCKER_ARCHIVE };
        for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
                size_t scheme = strlen(schemes[i]);
                if (strncmp(name, schemes[i], scheme) != 0)
                        continue;
                size_t size = strcspn(name + scheme, ":");
                zp_autofree char *given = strndup(name + scheme, size);
                zp_autofree char *path = given ? resolved(given) : NULL;
                zp_autofree char *suffix = recorded_suffix(schemes[i], name + scheme + size);
                return given && suffix ? zp_format("%s%s%s", schemes[i], path ? path : given, suffix) : NULL;
        }
        return NULL;
}

int cli_lookup(struct zp_store *store, const char *name, struct zp_image_record *out, struct zp_error *err) {
        int r = zp_store_lookup_image(store, name, out, err);
        zp_autofree char *recorded = r == -ENOENT ? recorded_name(name) : NULL;
        return recorded ? zp_store_lookup_image(store, recorded, out, err) : r;
}

int cli_open_image(const struct cli_call *call, enum zp_store_mode mode, const char *name, struct zp_store **store,
                   struct zp_image_record *record, struct zp_error *err) {
        int r = zp_store_open(call->store, mode, store, err);
        return r < 0 ? r : cli_lookup(*store, name, record, err);
}

static int not_there(const char *what, const struct zp_digest *digest, struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        zp_error_set(err, ENOENT, "%s %s is not in the store", what, zp_digest_text(digest, text));
        zp_error_hint(err, "'zeropull build --rebuild' of the image makes it again");
        return -ENOENT;
}

int cli_find_layer(struct zp_store *store, const struct zp_image_record *image, uint16_t layer,
                   struct zp_layer_record *out, struct zp_error *err) {
        int r = zp_store_find_layer(store, &image->layers[layer], &image->diff_ids[layer], out, err);
        if (r < 0)
                return r;
        return r == 1 ? 0 : not_there("layer", &image->layers[layer], err);
}

int cli_find_device(struct zp_store *store, const struct zp_digest *digest, struct zp_device_record *out,
                    struct zp_error *err) {
        int r = zp_store_find_device(store, digest, out, err);
        if (r < 0)
                return r;
        return r == 1 ? 0 : not_there("device", digest, err);
}

int cli_image_sizes(struct zp_store *store, const struct zp_image_record *record, struct cli_sizes *out,
                    struct zp_error *err) {
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        *out = (struct cli_sizes){ .packed = record->metadata_size,
                                   .here = record->metadata_size,
                                   .is_complete = true };
        int r = zp_store_list_devices_of(store, &record->manifest_digest, &devices, &count, err);
        for (size_t i = 0; i < count; i++) {
                out->packed += devices[i].pack_size + devices[i].index_size;
                out->here += (devices[i].is_complete ? devices[i].pack_size : 0) + devices[i].index_size;
                out->is_complete = out->is_complete && devices[i].is_complete;
                out->is_lost = out->is_lost || zp_device_is_lost(&devices[i]);
        }
        return r;
}

int cli_hint_complete(int result, const char *image, struct zp_error *err) {
        if (result == -ENODATA)
                zp_error_hint(err, "fetch it: zeropull pull --complete %s", image);
        return result;
}

int cli_open_pack(struct zp_store *store, const struct zp_digest *device, struct zp_open_pack *out,
                  struct zp_error *err) {
        char text[ZP_DIGEST_TEXT_SIZE];
        struct zp_device_record record;
        *out = (struct zp_open_pack){ .fd = -1 };
        int r = cli_find_device(store, device, &record, err);
        if (r < 0)
                return r;
        r = zp_store_open_pack(store, &record, out, err);
        return r < 0 ? zp_error_wrap(err, "device %s", zp_digest_text(device, text)) : 0;
}
