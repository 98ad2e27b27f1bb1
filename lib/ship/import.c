/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/import.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/limits.h"
#include "oci/manifest.h"
#include "pack/index.h"
#include "ship/metadata.h"

/* Files are held as a whole. */
#define METADATA_MAX (UINT64_C(2) << 30)

/* ---- looking into a store ---- */

void zp_import_image_clear(struct zp_import_image *image) {
        zp_image_record_clear(&image->image);
        free(image->devices);
        free(image->layers);
        *image = (struct zp_import_image){ 0 };
}

static int look_at_layers(struct zp_store *store, struct zp_import_image *out, struct zp_error *err) {
        const struct zp_image_record *image = &out->image;
        int r = 1;
        out->layers = calloc((size_t) image->layer_count + 1, sizeof *out->layers);
        if (!out->layers)
                return zp_error_errno(err, ENOMEM, "layers");
        for (uint16_t n = 0; r == 1 && n < image->layer_count; n++) {
                r = zp_store_find_layer(store, &image->layers[n], &image->diff_ids[n], &out->layers[n], err);
                if (r == 0 || (r == 1 && !zp_digest_equal(&out->layers[n].diff_id, &image->diff_ids[n])))
                        r = zp_error_set(err, EBADMSG, "layer %u: it has no record", n + 1u);
        }
        return r;
}

int zp_import_look(const char *path, const struct zp_digest *manifest_digest, struct zp_import_image *out,
                   struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        *out = (struct zp_import_image){ 0 };
        int r = zp_store_open(path, ZP_STORE_READ, &store, err);
        if (r == 0)
                r = zp_store_find_image(store, manifest_digest, &out->image, err);
        if (r == 1 &&
            (r = zp_store_list_devices_of(store, manifest_digest, &out->devices, &out->device_count, err)) == 0)
                r = look_at_layers(store, out, err);
        if (r != 1)
                zp_import_image_clear(out);
        return r;
}

int zp_import_read(const char *path, const char *file, uint64_t offset, struct zp_import_piece *out,
                   struct zp_error *err) {
        zp_autoclose int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        struct stat st;
        if (directory < 0)
                return zp_error_errno(err, errno, "'%s'", path);
        /* O_NONBLOCK: a FIFO must not hold us up */
        zp_autoclose int fd = openat(directory, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "'%s'", file);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "'%s' is not a regular file", file);
        uint64_t file_size = (uint64_t) st.st_size, left = offset < file_size ? file_size - offset : 0;
        size_t size = left < ZP_IMPORT_PIECE ? (size_t) left : ZP_IMPORT_PIECE;
        zp_autofree char *bytes = malloc(size + 1);
        if (!bytes)
                return zp_error_errno(err, ENOMEM, "'%s'", file);
        int r = zp_pread_all(fd, bytes, size, offset, file, err);
        if (r == 0)
                *out = (struct zp_import_piece){ zp_steal(&bytes), size, file_size };
        return r;
}

/* ---- taking over ---- */

struct import {
        const struct zp_import_from *from;
        struct zp_store *into;
        const struct zp_cancel *cancel;
        struct zp_image_record image; /* as the other store has it; its pointers are not ours */
        struct zp_artifact artifact;  /* what the checks go by */
};

struct whole {
        char *bytes; /* with a NUL behind it; NULL: nothing has come yet */
        size_t size, filled;
};

static int add_piece(struct whole *whole, const char *file, const struct zp_import_piece *piece, struct zp_error *err) {
        if (piece->file_size > METADATA_MAX)
                return zp_error_set(err, EFBIG, "'%s': it is too large", file);
        if (!whole->bytes) {
                whole->size = (size_t) piece->file_size;
                whole->bytes = malloc(whole->size + 1);
                if (!whole->bytes)
                        return zp_error_errno(err, ENOMEM, "'%s'", file);
        }
        size_t left = whole->size - whole->filled;
        if (piece->file_size != whole->size || piece->size > left || (piece->size == 0 && left > 0))
                return zp_error_set(err, EBADMSG, "'%s': it changes as it is read", file);
        memcpy(whole->bytes + whole->filled, piece->bytes, piece->size);
        whole->filled += piece->size;
        whole->bytes[whole->filled] = '\0';
        return 0;
}

/* Piece by piece: who waits for one waits for no large file on slow storage. */
static int read_whole(struct import *i, const char *file, struct whole *whole, struct zp_error *err) {
        int r;
        do {
                struct zp_import_piece piece = { 0 };
                r = zp_check_cancel(i->cancel, err);
                if (r == 0)
                        r = i->from->read(i->from->context, file, whole->filled, &piece, err);
                if (r == 0)
                        r = add_piece(whole, file, &piece, err);
                free(piece.bytes);
        } while (r == 0 && whole->filled < whole->size);
        return r;
}

/* A file of the other store; *out is malloc'ed and has a NUL behind it. */
static int read_checked(struct import *i, const char *kind, const struct zp_digest *name, const char *what,
                        const struct zp_digest *digest, char **out, size_t *size, struct zp_error *err) {
        char hex[ZP_SHA256_HEX_SIZE];
        struct zp_digest actual;
        zp_autofree char *file = zp_format("%s/%s/%s", kind, zp_digest_hex(name, hex), what);
        if (!file)
                return zp_error_errno(err, ENOMEM, "%s", what);
        struct whole whole = { 0 };
        int r = read_whole(i, file, &whole, err);
        *out = whole.bytes;
        *size = whole.size;
        if (r < 0)
                return r;
        zp_digest_of(*out, *size, &actual);
        if (!zp_digest_equal(&actual, digest))
                return zp_error_set(err, EBADMSG, "'%s': its digest is another one: it is damaged", file);
        return 0;
}

/* Returns the descriptor, the caller's. */
static int stage(struct zp_staging *staging, const char *file, const char *data, size_t size, struct zp_error *err) {
        zp_autoclose int fd = zp_staging_create(staging, file, err);
        int r = fd < 0 ? fd : zp_write_all(fd, data, size, file, err);
        return r < 0 ? r : zp_steal_fd(&fd);
}

static int stage_and_close(struct zp_staging *staging, const char *file, const char *data, size_t size,
                           struct zp_error *err) {
        zp_autoclose int fd = stage(staging, file, data, size, err);
        return fd < 0 ? fd : 0;
}

static int import_device(struct import *i, const struct zp_device_record *there, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_autofree char *bytes = NULL;
        struct zp_device_record record;
        struct zp_pack_index index;
        size_t size;
        int r = zp_store_find_device(i->into, &there->digest, &record, err);
        if (r == 1 && (record.device_size != there->device_size || record.pack_size != there->pack_size))
                r = zp_error_set(err, EBADMSG, "a device: its sizes are not those of the one that is here");
        if (r != 0)
                return r < 0 ? r : 0;
        r = read_checked(i, "devices", &there->digest, "device.idx", &there->digest, &bytes, &size, err);
        if (r == 0)
                r = zp_pack_index_parse((uint8_t *) bytes, size, &there->digest, "device.zst", &index, err);
        if (r == 0 && (index.device_size != there->device_size || index.pack_size != there->pack_size))
                r = zp_error_set(err, EBADMSG, "index of 'device.zst': its sizes are not the record's");
        if (r == 0)
                r = zp_staging_new(i->into, &staging, err);
        if (r == 0)
                r = stage_and_close(staging, "device.idx", bytes, size, err);
        if (r < 0)
                return r;
        record = *there;
        record.index_size = size;
        record.frame_size = index.frame_size;
        record.is_fetched = true;
        record.is_complete = false;
        return zp_staging_commit_device(staging, &record, err);
}

static int import_devices(struct import *i, struct zp_error *err) {
        const struct zp_import_image *from = i->from->image;
        if (from->device_count > ZP_LIMIT_DEVICES)
                return zp_error_set(err, EBADMSG, "too many devices");
        int r = 0;
        for (size_t n = 0; r == 0 && n < from->device_count; n++) {
                r = import_device(i, &from->devices[n], err);
                i->artifact.devices[i->artifact.device_count++] =
                        (struct zp_artifact_device){ .digest = from->devices[n].digest,
                                                     .device_size = from->devices[n].device_size };
        }
        return r;
}

static int import_layer(struct import *i, uint16_t number, struct zp_error *err) {
        const struct zp_digest *name = &i->image.layers[number], *diff_id = &i->image.diff_ids[number];
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        zp_autofree char *bytes = NULL;
        struct zp_layer_record record;
        struct zp_artifact_layer layer;
        size_t size;
        int r = zp_store_find_layer(i->into, name, diff_id, &record, err);
        if (r < 0 || (r == 1 && zp_digest_equal(&record.diff_id, diff_id)))
                return r < 0 ? r : 0;
        record = i->from->image->layers[number];
        r = read_checked(i, "layers", name, "layer.erofs", name, &bytes, &size, err);
        if (r == 0)
                r = zp_staging_new(i->into, &staging, err);
        zp_autoclose int fd = r < 0 ? r : stage(staging, "layer.erofs", bytes, size, err);
        if (fd < 0)
                return fd;
        layer.metadata.size = record.metadata_size = size;
        record.device_count = 0;
        record.is_fetched = true;
        r = zp_metadata_check_layer(fd, &i->artifact, &layer, &record, err);
        return r < 0 ? r : zp_staging_commit_layer(staging, &record, err);
}

/* The manifest is the one asked for, the configuration the manifest's, the layers the configuration's. */
static int check_image(struct import *i, const char *manifest, size_t manifest_size, const char *config,
                       size_t config_size, struct zp_error *err) {
        struct zp_descriptor of_config = { 0 }, *layers = NULL;
        struct zp_platform platform;
        zp_autofree struct zp_digest *diff_ids = NULL;
        uint16_t layer_count = 0, diff_count = 0;
        int r = zp_manifest_parse(manifest, manifest_size, &of_config, &layers, &layer_count, err);
        if (r == 0 && !zp_digest_equal(&of_config.digest, &i->image.config_digest))
                r = zp_error_set(err, EBADMSG, "the configuration is not the manifest's");
        if (r == 0)
                r = zp_config_parse(config, config_size, &platform, &diff_ids, &diff_count, err);
        if (r == 0 && (diff_count != layer_count || diff_count != i->image.layer_count ||
                       memcmp(diff_ids, i->image.diff_ids, diff_count * sizeof *diff_ids) != 0))
                r = zp_error_set(err, EBADMSG, "the layers are not the configuration's");
        free(of_config.media_type);
        for (uint16_t n = 0; layers && n < layer_count; n++)
                free(layers[n].media_type);
        free(layers);
        return r;
}

static int stage_config(struct import *i, struct zp_staging *staging, struct zp_error *err) {
        const struct zp_digest *digest = &i->image.manifest_digest;
        zp_autofree char *manifest = NULL, *config = NULL;
        size_t manifest_size, config_size;
        int r = read_checked(i, "images", digest, "manifest.json", digest, &manifest, &manifest_size, err);
        if (r == 0)
                r = read_checked(i, "images", digest, "config.json", &i->image.config_digest, &config, &config_size,
                                 err);
        if (r == 0)
                r = check_image(i, manifest, manifest_size, config, config_size, err);
        if (r == 0)
                r = stage_and_close(staging, "manifest.json", manifest, manifest_size, err);
        return r < 0 ? r : stage_and_close(staging, "config.json", config, config_size, err);
}

static int stage_snapshot(struct import *i, struct zp_staging *staging, struct zp_error *err) {
        zp_autofree char *bytes = NULL;
        size_t size;
        int r = read_checked(i, "images", &i->image.manifest_digest, "snapshot.erofs", &i->image.metadata_digest,
                             &bytes, &size, err);
        zp_autoclose int fd = r < 0 ? r : stage(staging, "snapshot.erofs", bytes, size, err);
        if (fd < 0)
                return fd;
        i->image.metadata_size = i->artifact.snapshot.size = size;
        return zp_metadata_check_snapshot(fd, &i->artifact, err);
}

/* The configuration comes first: what is no image of that manifest brings nothing into the store. */
static int import_image(struct import *i, const char *name, const char *origin, struct zp_error *err) {
        zp_auto(zp_staging_free) struct zp_staging *staging = NULL;
        int r = zp_staging_new(i->into, &staging, err);
        if (r == 0)
                r = stage_config(i, staging, err);
        if (r == 0)
                r = import_devices(i, err);
        for (uint16_t n = 0; r == 0 && n < i->image.layer_count; n++)
                r = import_layer(i, n, err);
        if (r == 0)
                r = stage_snapshot(i, staging, err);
        if (r < 0)
                return r;
        char *names[] = { (char *) name, NULL };
        struct zp_image_record record = i->image;
        record.created_s = time(NULL);
        record.is_fetched = true;
        record.origin = (char *) origin;
        record.names = names;
        return zp_staging_commit_image(staging, &record, err);
}

int zp_import(const struct zp_import_from *from, struct zp_store *into, const char *name, const char *origin,
              const struct zp_cancel *cancel, struct zp_error *err) {
        struct import i = { .from = from, .into = into, .cancel = cancel, .image = from->image->image };
        zp_auto(zp_store_unlock) struct zp_store_lock *lock = NULL;
        struct zp_image_record there = { 0 };
        int r = zp_store_lock(into, &i.image.manifest_digest, cancel, NULL, NULL, &lock, err);
        if (r == 0)
                r = zp_store_find_image(into, &i.image.manifest_digest, &there, err);
        zp_image_record_clear(&there);
        if (r == 0)
                r = zp_artifact_init(&i.artifact, err);
        if (r == 0)
                r = import_image(&i, name, origin, err);
        zp_artifact_clear(&i.artifact);
        return r < 0 ? r : 0;
}
