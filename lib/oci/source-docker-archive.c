/* SPDX-License-Identifier: Apache-2.0
 *
 * `docker-archive:FILE[:REF|:@INDEX]`: the output of `docker save` (all versions) and its imitators.
 */
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/bytes.h"
#include "base/limits.h"
#include "layer/decompress.h"
#include "oci/archive.h"
#include "oci/json.h"
#include "oci/manifest-internal.h"
#include "oci/reference.h"

#define INFLATE_BUFFER_SIZE (256u << 10)

/* A blob that the archive can give. A layer's digest is its diffID: it is given uncompressed. */
struct content {
        struct zp_digest digest;
        uint64_t size;
        struct zp_extent extent;
        bool is_compressed;
};

struct docker_source {
        struct zp_archive *archive;
        const struct zp_cancel *cancel;
        char *path, *wanted;
        struct content *contents; /* the config and the layers; set by docker_root */
        size_t content_count;
};

static void docker_close(void *state) {
        struct docker_source *source = state;
        if (source->archive)
                zp_archive_close(source->archive);
        free(source->path);
        free(source->wanted);
        free(source->contents);
        free(source);
}
ZP_DEFINE_AUTO(struct docker_source, docker_close);

static int docker_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                       struct zp_error *err) {
        zp_auto(docker_close) struct docker_source *source = calloc(1, sizeof *source);
        if (!source)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        int r = zp_split_path(rest, &source->path, &source->wanted, err);
        if (r == 0 && source->wanted && source->wanted[0] != '@') {
                struct zp_reference reference;
                r = zp_reference_parse(source->wanted, &reference, err);
                if (r == 0) {
                        free(source->wanted);
                        source->wanted = zp_reference_text(&reference);
                        zp_reference_clear(&reference);
                        if (!source->wanted)
                                r = zp_error_errno(err, ENOMEM, "open '%s'", rest);
                }
        }
        if (r == 0)
                r = zp_archive_open(source->path, options->cancel, &source->archive, err);
        if (r < 0)
                return r;
        source->cancel = options->cancel;
        *name = zp_format("docker-archive:%s%s%s", source->path, source->wanted ? ":" : "",
                          source->wanted ? source->wanted : "");
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        *state = zp_steal(&source);
        return 0;
}

/* --- layers that are compressed in the archive, though docker does not do so --- */

struct inflate {
        uint8_t *buffer;
        uint64_t total;
        zp_blob_sink sink; /* NULL: only count */
        void *context;
        const struct zp_cancel *cancel;
};

static int on_inflated(void *context, size_t used, int is_last, uint8_t **data, size_t *size, struct zp_error *err) {
        struct inflate *inflate = context;
        int r = zp_check_cancel(inflate->cancel, err);
        inflate->total += used;
        if (r == 0 && inflate->total > ZP_LIMIT_LAYER_SIZE)
                r = zp_error_set(err, E2BIG, "the layer is too large");
        if (r == 0 && used > 0 && inflate->sink)
                r = inflate->sink(inflate->context, inflate->buffer, used, err);
        if (!is_last) {
                *data = inflate->buffer;
                *size = INFLATE_BUFFER_SIZE;
        }
        return r;
}

static int push(void *context, const void *data, size_t size, struct zp_error *err) {
        return zp_decompress_push(context, data, size, err);
}

static int inflate_extent(const struct docker_source *source, const struct zp_extent *extent, zp_blob_sink sink,
                          void *context, uint64_t *total, struct zp_error *err) {
        zp_autofree uint8_t *buffer = malloc(INFLATE_BUFFER_SIZE);
        struct inflate inflate = { .buffer = buffer, .sink = sink, .context = context, .cancel = source->cancel };
        zp_auto(zp_decompress_free) struct zp_decompress *decompress = NULL;
        int r = buffer ? zp_decompress_new(on_inflated, &inflate, &decompress, err)
                       : zp_error_errno(err, ENOMEM, "decompress");
        if (r == 0)
                r = zp_extent_stream(extent, source->path, push, decompress, err);
        if (r == 0)
                r = zp_decompress_finish(decompress, err);
        *total = inflate.total;
        return r;
}

static int measure(const struct docker_source *source, struct content *content, struct zp_error *err) {
        struct zp_extent start = content->extent;
        zp_autofree char *head = NULL;
        start.size = zp_min_u64(start.size, ZP_COMPRESSION_HEAD_SIZE);
        int r = zp_extent_read(&start, source->path, ZP_COMPRESSION_HEAD_SIZE, &head, err);
        if (r < 0)
                return r;
        content->is_compressed = zp_compression_of(head, (size_t) start.size) != ZP_COMPRESSION_NONE;
        content->size = content->extent.size;
        return content->is_compressed ? inflate_extent(source, &content->extent, NULL, NULL, &content->size, err) : 0;
}

/* --- manifest.json --- */

static bool has_tag(json_t *tags, const char *wanted) {
        json_t *tag;
        size_t i;
        json_array_foreach(tags, i, tag) {
                struct zp_reference reference;
                if (!json_is_string(tag) || zp_reference_parse(json_string_value(tag), &reference, NULL) < 0)
                        continue;
                zp_autofree char *text = zp_reference_text(&reference);
                zp_reference_clear(&reference);
                if (text && strcmp(text, wanted) == 0)
                        return true;
        }
        return false;
}

/* "@3" → its item. */
static int by_index(json_t *items, const char *wanted, json_t **out, struct zp_error *err) {
        char *end;
        unsigned long i = strtoul(wanted + 1, &end, 10);
        if (wanted[1] < '0' || wanted[1] > '9' || *end)
                return zp_error_set(err, EINVAL, "'%s' is not of the form @NUMBER", wanted);
        *out = json_array_get(items, i);
        return *out ? 0 : zp_error_set(err, ENOENT, "no image %s: the archive has %zu", wanted, json_array_size(items));
}

static int choose(json_t *items, const char *wanted, json_t **out, struct zp_error *err) {
        json_t *item, *tags;
        size_t i;
        if (wanted && wanted[0] == '@')
                return by_index(items, wanted, out, err);
        if (!wanted && json_array_size(items) == 1) {
                *out = json_array_get(items, 0);
                return 0;
        }
        if (!wanted && json_array_size(items) == 0)
                return zp_error_set(err, EBADMSG, "the archive has no images");
        if (!wanted) {
                zp_error_set(err, EINVAL, "the archive has %zu images; which one is meant?", json_array_size(items));
                zp_error_hint(err, "add its name (or @NUMBER) behind a colon");
                return -EINVAL;
        }
        json_array_foreach(items, i, item) {
                int r = zp_json_get(item, "RepoTags", JSON_ARRAY, ZP_JSON_OPTIONAL, "manifest.json", &tags, err);
                if (r < 0)
                        return r;
                if (has_tag(tags, wanted)) {
                        *out = item;
                        return 0;
                }
        }
        return zp_error_set(err, ENOENT, "the archive has no image '%s'", wanted);
}

/* Reads a small file of the archive. */
static int read_small(struct docker_source *source, const char *name, char **body, struct zp_extent *extent,
                      struct zp_error *err) {
        int r = zp_archive_find(source->archive, name, extent, err);
        return r < 0 ? r : zp_extent_read(extent, name, ZP_LIMIT_JSON_SIZE, body, err);
}

/* --- the manifest that the archive does not have --- */

static bool append_descriptor(struct zp_buffer *out, const char *media_type, const struct content *content) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        zp_autofree char *text = zp_format("{\"mediaType\":\"%s\",\"size\":%ju,\"digest\":\"%s\"}", media_type,
                                           (uintmax_t) content->size, zp_digest_text(&content->digest, digest));
        return text && zp_buffer_text(out, text);
}

/* To the byte what skopeo makes, so that both name the image by the same digest. That includes the media type of
 * the layers, which says gzip though they are given as plain tar; readers go by the first bytes. */
static int make_manifest(struct docker_source *source, struct zp_document *out, struct zp_error *err) {
        static const char type[] = "application/vnd.docker.distribution.manifest.v2+json";
        static const char config_type[] = "application/vnd.docker.container.image.v1+json";
        static const char layer_type[] = "application/vnd.docker.image.rootfs.diff.tar.gzip";
        zp_autobuffer struct zp_buffer text = { 0 };
        bool ok = zp_buffer_text(&text, "{\"schemaVersion\":2,\"mediaType\":\"") && zp_buffer_text(&text, type) &&
                  zp_buffer_text(&text, "\",\"config\":") &&
                  append_descriptor(&text, config_type, &source->contents[0]) && zp_buffer_text(&text, ",\"layers\":[");
        for (size_t i = 1; i < source->content_count; i++)
                ok = ok && zp_buffer_text(&text, i > 1 ? "," : "") &&
                     append_descriptor(&text, layer_type, &source->contents[i]);
        ok = ok && zp_buffer_text(&text, "]}");
        out->media_type = ok ? strdup(type) : NULL;
        if (!out->media_type)
                return zp_error_errno(err, ENOMEM, "manifest");
        out->size = text.size;
        out->body = zp_steal(&text.data);
        return 0;
}

/* Finds the config (contents[0]) and the layers of the image that `item` describes. */
static int find_contents(struct docker_source *source, json_t *item, struct zp_error *err) {
        const char *config_name;
        json_t *layers;
        zp_autofree char *config = NULL;
        zp_autofree struct zp_digest *diff_ids = NULL;
        struct zp_extent extent;
        struct zp_platform platform;
        uint16_t count = 0;
        int r = zp_json_text(item, "Config", ZP_JSON_REQUIRED, "manifest.json", &config_name, err);
        if (r == 0)
                r = zp_json_get(item, "Layers", JSON_ARRAY, ZP_JSON_OPTIONAL, "manifest.json", &layers, err);
        if (r == 0)
                r = zp_part_result(read_small(source, config_name, &config, &extent, err), err);
        if (r == 0)
                r = zp_config_parse(config, (size_t) extent.size, &platform, &diff_ids, &count, err);
        if (r < 0)
                return r;
        if (json_array_size(layers) != count)
                return zp_error_set(err, EBADMSG, "manifest.json has %zu layers but the config %u diff_ids",
                                    json_array_size(layers), count);
        free(source->contents);
        source->content_count = 0;
        source->contents = calloc((size_t) count + 1, sizeof *source->contents);
        if (!source->contents)
                return zp_error_errno(err, ENOMEM, "manifest.json");
        struct content *contents = source->contents;
        contents[0] = (struct content){ .size = extent.size, .extent = extent };
        zp_digest_of(config, (size_t) extent.size, &contents[0].digest);
        for (size_t i = 0; i < count; i++) {
                const char *name = json_string_value(json_array_get(layers, i));
                contents[i + 1].digest = diff_ids[i];
                r = name ? zp_part_result(zp_archive_find(source->archive, name, &contents[i + 1].extent, err), err)
                         : zp_error_set(err, EBADMSG, "manifest.json: a layer's name is not a string");
                if (r == 0)
                        r = measure(source, &contents[i + 1], err);
                if (r < 0) {
                        zp_error_wrap(err, "layer %zu", i);
                        return r;
                }
        }
        source->content_count = (size_t) count + 1;
        return 0;
}

static int docker_root(void *state, struct zp_document *out, struct zp_error *err) {
        struct docker_source *source = state;
        zp_autofree char *body = NULL;
        zp_auto(json_decref) json_t *items = NULL;
        json_t *item;
        struct zp_extent extent;
        int r = read_small(source, "manifest.json", &body, &extent, err);
        if (r == -ENOENT) {
                r = zp_error_set(err, EBADMSG, "not a docker archive: it has no file 'manifest.json'");
                zp_error_hint(err, "for an OCI image layout in a tar file use oci-archive:FILE");
        }
        if (r == 0)
                r = zp_json_load_array(body, (size_t) extent.size, "manifest.json", &items, err);
        if (r == 0)
                r = choose(items, source->wanted, &item, err);
        if (r == 0)
                r = find_contents(source, item, err);
        return r < 0 ? r : make_manifest(source, out, err);
}

static int docker_blob(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                       struct zp_error *err) {
        struct docker_source *source = state;
        for (size_t i = 0; i < source->content_count; i++) {
                const struct content *content = &source->contents[i];
                uint64_t total;
                if (!zp_digest_equal(&content->digest, &blob->digest))
                        continue;
                return content->is_compressed
                               ? inflate_extent(source, &content->extent, reader->sink, reader->context, &total, err)
                               : zp_extent_stream(&content->extent, source->path, reader->sink, reader->context, err);
        }
        return zp_error_set(err, ENOENT, "the archive has no such content");
}

const struct zp_source_kind zp_source_docker_archive = {
        .prefix = "docker-archive:",
        .open = docker_open,
        .close = docker_close,
        .root = docker_root,
        .blob = docker_blob,
};
