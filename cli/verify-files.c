/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of layers, devices and images.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/fingerprint.h"
#include "base/limits.h"
#include "cli/output.h"
#include "cli/verify.h"
#include "cli/view.h"
#include "store/whole-file.h"

#define DEVICE_PIECE (UINT64_C(4) << 20)

/* ---- layers ---- */

static int check_digest(int fd, const char *name, uint64_t size, const struct zp_digest *digest, struct zp_error *err) {
        struct zp_digest actual;
        uint64_t actual_size;
        char text[ZP_DIGEST_TEXT_SIZE], wanted[ZP_DIGEST_TEXT_SIZE];
        int r = zp_fingerprint(fd, name, &actual_size, &actual, err);
        if (r < 0)
                return r;
        if (actual_size != size)
                return zp_error_set(err, EBADMSG, "'%s' has %llu bytes, not %llu", name,
                                    (unsigned long long) actual_size, (unsigned long long) size);
        if (!zp_digest_equal(&actual, digest))
                return zp_error_set(err, EBADMSG, "'%s': its digest is %s, not %s", name, zp_digest_text(&actual, text),
                                    zp_digest_text(digest, wanted));
        return 0;
}

static int check_layer_metadata(struct verifier *v, const struct zp_layer_record *layer, struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        int r = zp_snapshot_load_layer(v->store, layer, &tree, err);
        bool fits = tree.device_count == layer->device_count;
        for (uint16_t i = 0; r == 0 && fits && i < tree.device_count; i++) {
                struct zp_device_record device;
                r = cli_find_device(v->store, &layer->devices[i], &device, err);
                fits = r == 0 && zp_digest_equal(&tree.devices[i].digest, &device.digest) &&
                       tree.devices[i].blocks == device.device_size / ZP_BLOCK_SIZE;
        }
        if (r == 0 && !fits)
                r = zp_error_set(err, EBADMSG, "'layer.erofs' names other devices than the record");
        return r;
}

int verify_layer(struct verifier *v, const struct zp_layer_record *layer, struct zp_error *err) {
        struct verify_subject subject = verify_layer_subject(layer);
        int r = zp_check_cancel(v->call->cancel, err);
        if (r == 0)
                r = verify_note(v, &subject, check_layer_metadata(v, layer, err), err);
        v->gone_layers += subject.is_gone;
        return r;
}

/* ---- devices ---- */

static void on_progress(void *context, uint64_t bytes) {
        struct verifier *v = context;
        progress_advance(v->progress, 0, bytes);
}

/* Of a device whose data is not here. */
static int check_index(struct verifier *v, const struct zp_device_record *device, struct zp_error *err) {
        if (zp_device_is_lost(device))
                return zp_error_set(err, EBADMSG,
                                    "'device.zst' was damaged and has been set aside: 'zeropull build' of"
                                    " an image with its layer makes it again");
        zp_autoclose int fd = zp_store_open_device_file(v->store, &device->digest, "device.idx", err);
        return fd < 0 ? fd : check_digest(fd, "device.idx", device->index_size, &device->digest, err);
}

static int check_pack(struct verifier *v, const struct zp_device_record *device, struct zp_error *err) {
        if (!device->is_complete)
                return check_index(v, device, err);
        struct zp_open_pack pack;
        int r = cli_open_pack(v->store, &device->digest, &pack, err);
        if (r == 0)
                r = zp_pack_verify(pack.pack, v->pool, v->call->cancel, on_progress, v, err);
        zp_open_pack_close(&pack);
        return r;
}

/* ---- unpacked for mounts ---- */

/* prune leaves what is mounted */
static int bad_unpacked(struct zp_error *err) {
        return zp_error_set(err, EBADMSG,
                            "unpacked it is not what 'device.zst' holds; once no image with it is mounted, "
                            "'zeropull prune' removes it, and 'zeropull mount' makes it again");
}

static int compare_unpacked(struct verifier *v, struct zp_pack *pack, int fd, struct zp_error *err) {
        zp_autofree uint8_t *pieces = malloc(2 * (size_t) DEVICE_PIECE);
        if (!pieces)
                return zp_error_errno(err, ENOMEM, "verify");
        uint64_t size = zp_pack_device_size(pack);
        for (uint64_t at = 0, part; at < size; at += part) {
                part = zp_min_u64(DEVICE_PIECE, size - at);
                int r = zp_check_cancel(v->call->cancel, err);
                if (r == 0)
                        r = zp_pack_read(pack, at, pieces, part, err);
                if (r == 0)
                        r = zp_pread_all(fd, pieces + DEVICE_PIECE, part, at, "the unpacked device", err);
                if (r < 0)
                        return r;
                if (memcmp(pieces, pieces + DEVICE_PIECE, part) != 0)
                        return bad_unpacked(err);
                on_progress(v, part);
        }
        return 0;
}

static int check_unpacked(struct verifier *v, const struct zp_device_record *device, int fd, struct zp_error *err) {
        struct stat st;
        struct zp_open_pack pack;
        if (fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "the unpacked device");
        if ((uint64_t) st.st_size != device->device_size)
                return bad_unpacked(err);
        int r = cli_open_pack(v->store, &device->digest, &pack, err);
        if (r == 0)
                r = compare_unpacked(v, pack.pack, fd, err);
        zp_open_pack_close(&pack);
        return r;
}

int verify_device(struct verifier *v, const struct zp_device_record *device, struct zp_error *err) {
        char label[40], text[CLI_SHORT_DIGEST];
        struct verify_subject subject = verify_device_subject(device);
        size_t before = v->problem_count;
        zp_autoclose int unpacked_fd = zp_store_open_unpacked(v->store, &device->digest, err);
        int r = unpacked_fd == -ENOENT ? 0 : verify_note(v, &subject, unpacked_fd, err);
        snprintf(label, sizeof label, "device %s", cli_short_digest(&device->digest, text));
        progress_begin(v->progress, 0, label, "verifying", device->device_size * (unpacked_fd < 0 ? 1 : 2));
        if (r == 0)
                r = zp_check_cancel(v->call->cancel, err);
        if (r == 0)
                r = verify_note(v, &subject, check_pack(v, device, err), err);
        /* with a damaged pack there is nothing to compare with */
        if (r == 0 && device->is_complete && unpacked_fd >= 0 && v->problem_count == before && !subject.is_gone)
                r = verify_note(v, &subject, check_unpacked(v, device, unpacked_fd, err), err);
        v->gone_devices += subject.is_gone;
        if (r == 0)
                progress_end(v->progress, 0,
                             subject.is_gone             ? "gone"
                             : v->problem_count > before ? "damaged"
                             : device->is_complete       ? "verified"
                                                         : "index verified (its data is not here)");
        v->incomplete_devices += !device->is_complete && !subject.is_gone;
        return r;
}

/* ---- images ---- */

static int check_metadata_file(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        zp_autoclose int fd = zp_store_open_image_file(v->store, &image->manifest_digest, "snapshot.erofs", err);
        return fd < 0 ? fd : check_digest(fd, "snapshot.erofs", image->metadata_size, &image->metadata_digest, err);
}

/* Every device is one of the image's layers', with the size it has. */
static int check_devices(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        zp_autofree struct zp_device_record *devices = NULL;
        size_t count = 0;
        char text[ZP_DIGEST_TEXT_SIZE];
        int r = zp_snapshot_load(v->store, image, &tree, err);
        if (r == 0)
                r = zp_store_list_devices_of(v->store, &image->manifest_digest, &devices, &count, err);
        for (uint16_t d = 0; d < tree.device_count && r == 0; d++) {
                const struct zp_erofs_device *device = &tree.devices[d];
                size_t i = 0;
                while (i < count && !zp_digest_equal(&devices[i].digest, &device->digest))
                        i++;
                if (i == count)
                        r = zp_error_set(err, EBADMSG, "'snapshot.erofs': device %s is none of the image's layers'",
                                         zp_digest_text(&device->digest, text));
                else if (devices[i].device_size != device->blocks * ZP_BLOCK_SIZE)
                        r = zp_error_set(err, EBADMSG, "'snapshot.erofs': device %s has another size than its record",
                                         zp_digest_text(&device->digest, text));
        }
        return r;
}

static int check_manifest(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        struct zp_descriptor config = { 0 }, *layers = NULL;
        uint16_t count = 0;
        int r = zp_store_read_image_file(v->store, &image->manifest_digest, "manifest.json", ZP_LIMIT_JSON_SIZE,
                                         &image->manifest_digest, &text, &size, err);
        if (r == 0)
                r = zp_manifest_parse(text, size, &config, &layers, &count, err);
        if (r < 0)
                return r;
        if (!zp_digest_equal(&config.digest, &image->config_digest))
                r = zp_error_set(err, EBADMSG, "'manifest.json' names another config than the record");
        else if (count != image->layer_count)
                r = zp_error_set(err, EBADMSG, "'manifest.json' has %u layers, the record %u", count,
                                 image->layer_count);
        free(config.media_type);
        for (uint16_t i = 0; i < count; i++)
                free(layers[i].media_type);
        free(layers);
        return r;
}

static int check_config(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        zp_autofree char *text = NULL;
        zp_autofree struct zp_digest *diff_ids = NULL;
        size_t size;
        struct zp_platform platform;
        uint16_t count = 0;
        int r = zp_store_read_image_file(v->store, &image->manifest_digest, "config.json", ZP_LIMIT_JSON_SIZE,
                                         &image->config_digest, &text, &size, err);
        if (r == 0)
                r = zp_config_parse(text, size, &platform, &diff_ids, &count, err);
        if (r == 0 && (count != image->layer_count || memcmp(diff_ids, image->diff_ids, count * sizeof *diff_ids) != 0))
                r = zp_error_set(err, EBADMSG, "'config.json' has other diffIDs than the record");
        return r;
}

static int check_layers(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        struct zp_layer_record layer;
        for (uint16_t i = 0; i < image->layer_count; i++) {
                int r = cli_find_layer(v->store, image, i, &layer, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

int verify_image(struct verifier *v, const struct zp_image_record *image, struct zp_error *err) {
        static int (*const checks[])(struct verifier *, const struct zp_image_record *,
                                     struct zp_error *) = { check_manifest, check_config, check_layers,
                                                            check_metadata_file };
        struct verify_subject subject = verify_image_subject(image);
        int r = zp_check_cancel(v->call->cancel, err);
        size_t before = v->problem_count;
        for (size_t i = 0; i < sizeof checks / sizeof *checks && r == 0 && !subject.is_gone; i++)
                r = verify_note(v, &subject, checks[i](v, image, err), err);
        /* in metadata that is damaged there is nothing more to find */
        if (r == 0 && v->problem_count == before && !subject.is_gone)
                r = verify_note(v, &subject, check_devices(v, image, err), err);
        if (r == 0 && v->problem_count == before && !subject.is_gone)
                progress_say(v->progress, "%s: metadata verified", subject.name);
        v->gone_images += subject.is_gone;
        return r;
}
