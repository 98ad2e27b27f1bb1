/* SPDX-License-Identifier: Apache-2.0 */
#include "ship/artifact.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/limits.h"
#include "layer/tree.h"
#include "oci/artifact-manifest.h"
#include "pack/block-map.h"
#include "ship/bundle.h"

#define SNAPSHOT_TYPE "application/vnd.zeropull.snapshot.metadata.v1+zstd"
#define LAYER_TYPE "application/vnd.zeropull.layer.metadata.v1+zstd"
#define INDEX_TYPE "application/vnd.zeropull.device.index.v1"
#define PACK_TYPE "application/vnd.zeropull.device.pack.v1+zstd"
#define MAP_TYPE "application/vnd.zeropull.device.map.v1"
#define PREFETCH_TYPE "application/vnd.zeropull.snapshot.prefetch.v1+json"
#define BUNDLE_TYPE "application/vnd.zeropull.snapshot.bundle.v1"
#define DIGEST_NOTE "dev.zeropull.digest"
#define SIZE_NOTE "dev.zeropull.size"
#define DIFF_ID_NOTE "dev.zeropull.diff-id"
#define TAR_SIZE_NOTE "dev.zeropull.tar-size"
#define ENTRIES_NOTE "dev.zeropull.entries"
#define RECIPE_NOTE "dev.zeropull.recipe"
#define DEVICE_NOTE "dev.zeropull.device"
#define DEVICE_SIZE_NOTE "dev.zeropull.device-size"
#define LEVEL_NOTE "dev.zeropull.level"

/* Generous: a header and 40 bytes a frame (docs/pack-format.md). */
#define INDEX_SIZE_MAX (UINT64_C(64) * ZP_LIMIT_PACK_FRAMES)
/* A pack of bytes that cannot be compressed is a little larger than its device. */
#define PACK_SIZE_MAX (2 * ZP_LIMIT_LAYER_SIZE)
#define LEVEL_MAX 22 /* zstd's */

int zp_artifact_init(struct zp_artifact *artifact, struct zp_error *err) {
        *artifact = (struct zp_artifact){ .layers = calloc(ZP_LIMIT_LAYERS, sizeof *artifact->layers),
                                          .devices = calloc(ZP_LIMIT_DEVICES, sizeof *artifact->devices) };
        return artifact->layers && artifact->devices ? 0 : zp_error_errno(err, ENOMEM, "snapshot artifact");
}

void zp_artifact_clear(struct zp_artifact *artifact) {
        free(artifact->subject_media_type);
        free(artifact->layers);
        free(artifact->devices);
        *artifact = (struct zp_artifact){ 0 };
}

const struct zp_artifact_layer *zp_artifact_find_layer(const struct zp_artifact *artifact,
                                                       const struct zp_digest *diff_id) {
        for (uint16_t i = 0; i < artifact->layer_count; i++)
                if (zp_digest_equal(&artifact->layers[i].diff_id, diff_id))
                        return &artifact->layers[i];
        return NULL;
}

const struct zp_artifact_device *zp_artifact_find_device(const struct zp_artifact *artifact,
                                                         const struct zp_digest *digest) {
        for (uint16_t i = 0; i < artifact->device_count; i++)
                if (zp_digest_equal(&artifact->devices[i].digest, digest))
                        return &artifact->devices[i];
        return NULL;
}

/* ---- writing ---- */

/* Sets a member; a NULL value (out of memory) is noted and makes the whole fail. */
struct writing {
        bool out_of_memory;
};

static void set(struct writing *w, json_t *object, const char *key, json_t *value) {
        if (!value || json_object_set_new(object, key, value) < 0)
                w->out_of_memory = true;
}

static void set_digest(struct writing *w, json_t *object, const char *key, const struct zp_digest *digest) {
        char text[ZP_DIGEST_TEXT_SIZE];
        set(w, object, key, json_string(zp_digest_text(digest, text)));
}

/* Annotations are strings. */
static void set_number(struct writing *w, json_t *object, const char *key, uint64_t number) {
        char text[24];
        snprintf(text, sizeof text, "%" PRIu64, number);
        set(w, object, key, json_string(text));
}

/* Adds a descriptor to the layers and returns its annotations, which stay the array's. */
static json_t *add_blob(struct writing *w, json_t *layers, const char *type, const struct zp_digest *digest,
                        uint64_t size) {
        json_t *blob = json_object(), *annotations = json_object();
        set(w, blob, "mediaType", json_string(type));
        set_digest(w, blob, "digest", digest);
        set(w, blob, "size", json_integer((json_int_t) size));
        set(w, blob, "annotations", annotations);
        if (!blob || json_array_append_new(layers, blob) < 0)
                w->out_of_memory = true;
        return annotations;
}

static json_t *add_metadata(struct writing *w, json_t *layers, const char *type, const struct zp_artifact_metadata *m) {
        json_t *annotations = add_blob(w, layers, type, &m->blob_digest, m->blob_size);
        set_digest(w, annotations, DIGEST_NOTE, &m->digest);
        set_number(w, annotations, SIZE_NOTE, m->size);
        return annotations;
}

static void add_layer(struct writing *w, json_t *layers, const struct zp_artifact_layer *layer) {
        json_t *notes = add_metadata(w, layers, LAYER_TYPE, &layer->metadata);
        set_digest(w, notes, DIFF_ID_NOTE, &layer->diff_id);
        set_number(w, notes, TAR_SIZE_NOTE, layer->tar_size);
        set_number(w, notes, ENTRIES_NOTE, layer->entries);
        if (layer->recipe[0])
                set(w, notes, RECIPE_NOTE, json_string(layer->recipe));
}

static void add_device(struct writing *w, json_t *layers, const struct zp_artifact_device *device) {
        json_t *notes = add_blob(w, layers, INDEX_TYPE, &device->digest, device->index_size);
        set_digest(w, notes, DEVICE_NOTE, &device->digest);
        notes = add_blob(w, layers, PACK_TYPE, &device->pack_digest, device->pack_size);
        set_digest(w, notes, DEVICE_NOTE, &device->digest);
        set_number(w, notes, DEVICE_SIZE_NOTE, device->device_size);
        set_number(w, notes, LEVEL_NOTE, device->level);
        if (device->map_size > 0)
                set_digest(w, add_blob(w, layers, MAP_TYPE, &device->map_digest, device->map_size), DEVICE_NOTE,
                           &device->digest);
}

int zp_artifact_format(const struct zp_artifact *artifact, char **out, size_t *size, struct zp_error *err) {
        struct writing w = { 0 };
        json_t *layers = json_array();
        add_metadata(&w, layers, SNAPSHOT_TYPE, &artifact->snapshot);
        if (artifact->prefetch_size > 0)
                add_blob(&w, layers, PREFETCH_TYPE, &artifact->prefetch_digest, artifact->prefetch_size);
        if (artifact->bundle_size > 0)
                add_blob(&w, layers, BUNDLE_TYPE, &artifact->bundle_digest, artifact->bundle_size);
        for (uint16_t i = 0; i < artifact->layer_count; i++)
                add_layer(&w, layers, &artifact->layers[i]);
        for (uint16_t i = 0; i < artifact->device_count; i++)
                add_device(&w, layers, &artifact->devices[i]);
        if (w.out_of_memory) {
                json_decref(layers);
                layers = NULL;
        }
        struct zp_descriptor subject = { artifact->subject_media_type, artifact->subject_digest,
                                         artifact->subject_size };
        return zp_artifact_manifest_format(ZP_ARTIFACT_TYPE, layers, &subject, NULL, out, size, err);
}

/* ---- reading ---- */

struct blob {
        const char *type;
        struct zp_digest digest;
        uint64_t size;
        json_t *annotations;
};

static int bad(struct zp_error *err, const char *what) {
        return zp_error_set(err, EBADMSG, "snapshot artifact: %s", what);
}

static int read_blob(json_t *json, struct blob *out, struct zp_error *err) {
        const char *what = "snapshot artifact: layer";
        if (!json_is_object(json))
                return bad(err, "a layer is not an object");
        int r = zp_json_text(json, "mediaType", ZP_JSON_REQUIRED, what, &out->type, err);
        if (r == 0)
                r = zp_json_digest(json, "digest", what, &out->digest, err);
        if (r == 0)
                r = zp_json_size(json, "size", what, &out->size, err);
        bool is_bare = r == 0 && (strcmp(out->type, PREFETCH_TYPE) == 0 || strcmp(out->type, BUNDLE_TYPE) == 0);
        enum zp_json_need need = is_bare ? ZP_JSON_OPTIONAL : ZP_JSON_REQUIRED;
        return r < 0 ? r : zp_json_get(json, "annotations", JSON_OBJECT, need, what, &out->annotations, err);
}

static int read_number(json_t *notes, const char *key, uint64_t max, uint64_t *out, struct zp_error *err) {
        const char *text;
        int r = zp_json_text(notes, key, ZP_JSON_REQUIRED, "snapshot artifact: annotations", &text, err);
        if (r < 0)
                return r;
        size_t digits = strspn(text, "0123456789");
        if (digits == 0 || digits > 19 || text[digits] != '\0' || (text[0] == '0' && digits > 1))
                return bad(err, "a malformed number in the annotations");
        *out = strtoull(text, NULL, 10);
        return *out <= max ? 0 : bad(err, "an impossible number in the annotations");
}

static int read_metadata(const struct blob *blob, struct zp_artifact_metadata *out, struct zp_error *err) {
        out->blob_digest = blob->digest;
        out->blob_size = blob->size;
        int r = zp_json_digest(blob->annotations, DIGEST_NOTE, "snapshot artifact: annotations", &out->digest, err);
        if (r == 0)
                r = read_number(blob->annotations, SIZE_NOTE, ZP_LIMIT_METADATA_SIZE, &out->size, err);
        if (r == 0 && (out->size == 0 || blob->size == 0 || blob->size > ZSTD_compressBound(out->size)))
                r = bad(err, "metadata of an impossible size");
        return r;
}

static int read_recipe(json_t *notes, char out[ZP_RECIPE_SIZE], struct zp_error *err) {
        const char *text;
        if (!json_object_get(notes, RECIPE_NOTE))
                return 0;
        int r = zp_json_text(notes, RECIPE_NOTE, ZP_JSON_REQUIRED, "snapshot artifact: annotations", &text, err);
        if (r < 0)
                return r;
        if (!text[0] || strlen(text) >= ZP_RECIPE_SIZE)
                return bad(err, "a recipe that is empty or too long");
        for (const char *c = text; *c; c++)
                if ((unsigned char) *c < 0x20 || (unsigned char) *c > 0x7e)
                        return bad(err, "a malformed recipe");
        strcpy(out, text);
        return 0;
}

static int read_layer(const struct blob *blob, struct zp_artifact *artifact, struct zp_error *err) {
        if (artifact->device_count > 0)
                return bad(err, "a layer among the devices");
        if (artifact->layer_count == ZP_LIMIT_LAYERS)
                return bad(err, "too many layers");
        struct zp_artifact_layer *layer = &artifact->layers[artifact->layer_count];
        int r = read_metadata(blob, &layer->metadata, err);
        if (r == 0)
                r = zp_json_digest(blob->annotations, DIFF_ID_NOTE, "snapshot artifact: annotations", &layer->diff_id,
                                   err);
        if (r == 0)
                r = read_number(blob->annotations, TAR_SIZE_NOTE, ZP_LIMIT_LAYER_SIZE, &layer->tar_size, err);
        if (r == 0)
                r = read_number(blob->annotations, ENTRIES_NOTE, ZP_LIMIT_LAYER_ENTRIES, &layer->entries, err);
        if (r == 0)
                r = read_recipe(blob->annotations, layer->recipe, err);
        if (r == 0 && zp_artifact_find_layer(artifact, &layer->diff_id))
                r = bad(err, "a layer twice");
        artifact->layer_count += r == 0;
        return r;
}

static int read_index(const struct blob *blob, const struct zp_digest *device, struct zp_artifact *artifact,
                      struct zp_error *err) {
        if (artifact->device_count == ZP_LIMIT_DEVICES)
                return bad(err, "too many devices");
        if (!zp_digest_equal(device, &blob->digest))
                return bad(err, "an index that is another device's");
        if (zp_artifact_find_device(artifact, device))
                return bad(err, "a device twice");
        if (blob->size == 0 || blob->size > INDEX_SIZE_MAX)
                return bad(err, "a device of an impossible size");
        artifact->devices[artifact->device_count++] =
                (struct zp_artifact_device){ .digest = *device, .index_size = blob->size };
        return 0;
}

/* Follows the index of the device that it belongs to. */
static int read_pack(const struct blob *blob, const struct zp_digest *digest, struct zp_artifact *artifact,
                     struct zp_error *err) {
        struct zp_artifact_device *device =
                artifact->device_count ? &artifact->devices[artifact->device_count - 1] : NULL;
        if (!device || !zp_digest_equal(digest, &device->digest) || device->pack_size > 0)
                return bad(err, "index and pack of a device are not where they belong");
        device->pack_digest = blob->digest;
        device->pack_size = blob->size;
        int r = read_number(blob->annotations, DEVICE_SIZE_NOTE, ZP_LIMIT_LAYER_SIZE, &device->device_size, err);
        if (r == 0 && (blob->size == 0 || blob->size > PACK_SIZE_MAX || device->device_size == 0 ||
                       device->device_size % ZP_BLOCK_SIZE))
                r = bad(err, "a device of an impossible size");
        return r < 0 ? r : read_number(blob->annotations, LEVEL_NOTE, LEVEL_MAX, &device->level, err);
}

/* Follows the pack of the device that it belongs to. */
static int read_map(const struct blob *blob, const struct zp_digest *digest, struct zp_artifact *artifact,
                    struct zp_error *err) {
        struct zp_artifact_device *device =
                artifact->device_count ? &artifact->devices[artifact->device_count - 1] : NULL;
        if (!device || !zp_digest_equal(digest, &device->digest) || device->pack_size == 0 || device->map_size > 0)
                return bad(err, "the block map of a device is not where it belongs");
        if (device->device_size / ZP_BLOCK_SIZE > ZP_LIMIT_BASE_BLOCKS ||
            blob->size != zp_block_map_size(device->device_size))
                return bad(err, "a block map of an impossible size");
        device->map_digest = blob->digest;
        device->map_size = blob->size;
        return 0;
}

static int read_device_part(const struct blob *blob, struct zp_artifact *artifact, struct zp_error *err) {
        struct zp_digest device;
        int r = zp_json_digest(blob->annotations, DEVICE_NOTE, "snapshot artifact: annotations", &device, err);
        if (r < 0)
                return r;
        if (strcmp(blob->type, INDEX_TYPE) == 0)
                return read_index(blob, &device, artifact, err);
        return strcmp(blob->type, PACK_TYPE) == 0 ? read_pack(blob, &device, artifact, err)
                                                  : read_map(blob, &device, artifact, err);
}

static int read_prefetch(const struct blob *blob, struct zp_artifact *artifact, struct zp_error *err) {
        if (artifact->layer_count > 0 || artifact->device_count > 0 || artifact->prefetch_size > 0 ||
            artifact->bundle_size > 0)
                return bad(err, "a prefetch list that is not where it belongs");
        if (blob->size == 0 || blob->size > ZP_LIMIT_JSON_SIZE)
                return bad(err, "a prefetch list of an impossible size");
        artifact->prefetch_digest = blob->digest;
        artifact->prefetch_size = blob->size;
        return 0;
}

static int read_bundle(const struct blob *blob, struct zp_artifact *artifact, struct zp_error *err) {
        if (artifact->layer_count > 0 || artifact->device_count > 0 || artifact->bundle_size > 0)
                return bad(err, "a bundle that is not where it belongs");
        if (blob->size == 0)
                return bad(err, "a bundle of an impossible size");
        artifact->bundle_digest = blob->digest;
        artifact->bundle_size = blob->size;
        return 0;
}

static int check_bundle(const struct zp_artifact *artifact, struct zp_error *err) {
        struct zp_bundle_part parts[ZP_BUNDLE_PARTS_MAX];
        uint64_t size;
        if (artifact->bundle_size == 0)
                return 0;
        zp_bundle_list(artifact, parts, &size);
        return artifact->bundle_size == size ? 0 : bad(err, "a bundle that is not of its parts' size");
}

static bool is_device_part(const char *type) {
        return strcmp(type, INDEX_TYPE) == 0 || strcmp(type, PACK_TYPE) == 0 || strcmp(type, MAP_TYPE) == 0;
}

static int read_layers(json_t *layers, struct zp_artifact *artifact, struct zp_error *err) {
        size_t i;
        json_t *json;
        json_array_foreach(layers, i, json) {
                struct blob blob = { 0 };
                int r = read_blob(json, &blob, err);
                if (r < 0)
                        return r;
                if (i == 0)
                        r = strcmp(blob.type, SNAPSHOT_TYPE) == 0 ? read_metadata(&blob, &artifact->snapshot, err)
                                                                  : bad(err, "the first layer is not the snapshot");
                else if (strcmp(blob.type, LAYER_TYPE) == 0)
                        r = read_layer(&blob, artifact, err);
                else if (is_device_part(blob.type))
                        r = read_device_part(&blob, artifact, err);
                else if (strcmp(blob.type, PREFETCH_TYPE) == 0)
                        r = read_prefetch(&blob, artifact, err);
                else if (strcmp(blob.type, BUNDLE_TYPE) == 0)
                        r = read_bundle(&blob, artifact, err);
                else
                        r = bad(err, "a layer of an unknown type");
                if (r < 0)
                        return r;
        }
        if (i == 0)
                return bad(err, "it has no layers");
        for (uint16_t n = 0; n < artifact->device_count; n++)
                if (artifact->devices[n].pack_size == 0)
                        return bad(err, "an index without its pack");
        return check_bundle(artifact, err);
}

static int read_manifest(json_t *root, struct zp_artifact *artifact, struct zp_error *err) {
        json_t *layers;
        struct zp_descriptor subject = { 0 };
        int r = zp_artifact_manifest_read(root, ZP_ARTIFACT_TYPE, "snapshot artifact", &layers, &subject, err);
        artifact->subject_media_type = (char *) subject.media_type;
        artifact->subject_digest = subject.digest;
        artifact->subject_size = subject.size;
        return r < 0 ? r : read_layers(layers, artifact, err);
}

int zp_artifact_parse(const char *body, size_t size, struct zp_artifact *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *root = NULL;
        struct zp_artifact artifact;
        int r = zp_artifact_init(&artifact, err);
        if (r == 0)
                r = zp_json_load(body, size, "snapshot artifact", &root, err);
        if (r == 0)
                r = read_manifest(root, &artifact, err);
        if (r < 0)
                zp_artifact_clear(&artifact);
        else
                *out = artifact;
        return r;
}
