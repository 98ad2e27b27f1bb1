/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull inspect`.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/limits.h"
#include "cli/output.h"
#include "cli/view.h"
#include "oci/manifest.h"
#include "store/whole-file.h"

enum { OPTION_LAYERS, OPTION_MANIFEST, OPTION_CONFIG };

static const struct cli_option options[] = {
        [OPTION_LAYERS] = { "layers", 0, NULL, "tell what each layer holds" },
        [OPTION_MANIFEST] = { "manifest", 0, NULL, "print the image's manifest, byte by byte" },
        [OPTION_CONFIG] = { "config", 0, NULL, "print the image's configuration, byte by byte" },
        { 0 },
};

struct counts {
        uint64_t files, directories, links, hard_links, devices, others, whiteouts, opaque, bytes;
};

struct layer_view {
        struct zp_layer_record record;
        struct zp_device_record devices[ZP_LIMIT_LAYER_DEVICES];
        bool has_blob;
        struct zp_descriptor blob; /* as the manifest names it */
        struct counts counts;
};

struct view {
        struct zp_image_record image;
        struct cli_sizes sizes;
        uint64_t disk_size;
        uint16_t device_count;
        bool with_counts;
        struct layer_view layers[ZP_LIMIT_LAYERS];
};

static void count_inode(struct counts *c, const struct zp_inode *inode) {
        if (S_ISREG(inode->mode)) {
                c->files++;
                c->bytes += inode->size;
        } else if (S_ISDIR(inode->mode)) {
                c->directories++;
                c->opaque += inode->is_opaque;
        } else if (S_ISLNK(inode->mode)) {
                c->links++;
        } else if (zp_inode_is_whiteout(inode)) {
                c->whiteouts++;
        } else if (S_ISCHR(inode->mode) || S_ISBLK(inode->mode)) {
                c->devices++;
        } else {
                c->others++;
        }
}

static void count_children(struct counts *c, const struct zp_inode *dir) {
        for (const struct zp_dentry *child = dir->first_child; child; child = child->next) {
                struct zp_inode *inode = child->inode;
                bool is_again = inode->scratch == UINT64_MAX;
                if (is_again)
                        c->hard_links++;
                else
                        count_inode(c, inode);
                inode->scratch = UINT64_MAX;
                if (S_ISDIR(inode->mode))
                        count_children(c, inode);
        }
}

static int count_layer(struct zp_store *store, struct layer_view *layer, struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        int r = zp_snapshot_load_layer(store, &layer->record, &tree, err);
        if (r == 0) {
                layer->counts.opaque = zp_tree_root(tree.tree)->is_opaque;
                count_children(&layer->counts, zp_tree_root(tree.tree));
        }
        return r;
}

/* What the manifest says of the layers' blobs. */
static int take_blobs(struct zp_store *store, struct view *view, struct zp_error *err) {
        zp_autofree char *manifest = NULL;
        size_t size;
        struct zp_descriptor config = { 0 }, *blobs = NULL;
        uint16_t count = 0;
        int r = zp_store_read_image_file(store, &view->image.manifest_digest, "manifest.json", ZP_LIMIT_JSON_SIZE,
                                         &view->image.manifest_digest, &manifest, &size, err);
        if (r == 0)
                r = zp_manifest_parse(manifest, size, &config, &blobs, &count, err);
        if (r < 0)
                return r;
        free(config.media_type);
        for (uint16_t i = 0; i < count; i++) {
                if (i < view->image.layer_count) {
                        view->layers[i].blob = blobs[i];
                        view->layers[i].has_blob = true;
                } else {
                        free(blobs[i].media_type);
                }
        }
        free(blobs);
        return 0;
}

static int take_disk(struct zp_store *store, struct view *view, struct zp_error *err) {
        zp_autoloaded struct zp_loaded tree = { 0 };
        int r = zp_snapshot_load(store, &view->image, &tree, err);
        view->disk_size = tree.size;
        view->device_count = tree.device_count;
        for (uint16_t i = 0; i < tree.device_count && r == 0; i++)
                view->disk_size += tree.devices[i].blocks * ZP_BLOCK_SIZE;
        return r;
}

static int take_layer(struct zp_store *store, struct view *view, uint16_t number, struct zp_error *err) {
        struct layer_view *layer = &view->layers[number];
        int r = cli_find_layer(store, &view->image, number, &layer->record, err);
        for (uint16_t i = 0; r == 0 && i < layer->record.device_count; i++)
                r = cli_find_device(store, &layer->record.devices[i], &layer->devices[i], err);
        return r == 0 && view->with_counts ? count_layer(store, layer, err) : r;
}

static int take_all(struct zp_store *store, struct view *view, struct zp_error *err) {
        if (view->image.layer_count > ZP_LIMIT_LAYERS)
                return zp_error_set(err, EBADMSG, "the store's record has %u layers", view->image.layer_count);
        int r = cli_image_sizes(store, &view->image, &view->sizes, err);
        if (r == 0)
                r = take_blobs(store, view, err);
        if (r == 0)
                r = take_disk(store, view, err);
        for (uint16_t i = 0; i < view->image.layer_count && r == 0; i++)
                r = take_layer(store, view, i, err);
        return r;
}

static void print_counts(const struct counts *c) {
        char bytes[CLI_SIZE_TEXT];
        printf("     holds         %" PRIu64 " files (%s), %" PRIu64 " directories, %" PRIu64
               " symbolic links, %" PRIu64 " hard links,\n                   %" PRIu64 " devices, %" PRIu64
               " others, %" PRIu64 " whiteouts, %" PRIu64 " opaque directories\n",
               c->files, cli_size_text(c->bytes, bytes), c->directories, c->links, c->hard_links, c->devices, c->others,
               c->whiteouts, c->opaque);
}

static void print_layer(const struct view *view, const char *store, uint16_t number) {
        const struct layer_view *layer = &view->layers[number];
        char text[ZP_DIGEST_TEXT_SIZE], hex[ZP_SHA256_HEX_SIZE], a[CLI_SIZE_TEXT], b[CLI_SIZE_TEXT];
        printf("\n%3u. diffID        %s\n", number + 1u, zp_digest_text(&layer->record.diff_id, text));
        if (layer->has_blob)
                printf("     blob          %s, %s\n", zp_digest_text(&layer->blob.digest, text),
                       cli_size_text(layer->blob.size, a));
        printf("     tar           %s, %" PRIu64 " entries\n", cli_size_text(layer->record.tar_size, a),
               layer->record.entries);
        printf("     here          metadata %s in %s/layers/%s\n", cli_size_text(layer->record.metadata_size, a), store,
               zp_digest_hex(&layer->record.metadata_digest, hex));
        for (uint16_t i = 0; i < layer->record.device_count; i++) {
                const struct zp_device_record *device = &layer->devices[i];
                printf("     device        %s, packed %s%s, in %s/devices/%s\n", cli_size_text(device->device_size, a),
                       cli_size_text(device->pack_size, b), device->is_complete ? "" : " (not here)", store,
                       zp_digest_hex(&device->digest, hex));
        }
        if (view->with_counts)
                print_counts(&layer->counts);
}

static void print_text(const struct view *view, const char *store) {
        const struct zp_image_record *image = &view->image;
        char text[ZP_DIGEST_TEXT_SIZE], hex[ZP_SHA256_HEX_SIZE], a[CLI_SIZE_TEXT], b[CLI_SIZE_TEXT];
        for (char **name = image->names; name && *name; name++) {
                printf("%s", name == image->names ? "name          " : "              ");
                cli_print_escaped(stdout, *name, strlen(*name));
                putchar('\n');
        }
        printf("digest        %s\n", zp_digest_text(&image->manifest_digest, text));
        printf("config        %s\n", zp_digest_text(&image->config_digest, text));
        printf("media type    ");
        cli_print_escaped(stdout, image->manifest_media_type, strlen(image->manifest_media_type));
        printf("\nplatform      ");
        cli_print_escaped(stdout, image->platform, strlen(image->platform));
        printf("\nimage         %s in %u layer%s\n", cli_size_text(image->image_size, a), image->layer_count,
               image->layer_count == 1 ? "" : "s");
        printf("snapshot      %s, of these %s metadata; its layers may be shared\n",
               cli_size_text(view->sizes.packed, a), cli_size_text(image->metadata_size, b));
        if (!view->sizes.is_complete)
                printf("here          %s; %s the rest\n", cli_size_text(view->sizes.here, a),
                       view->sizes.is_lost ? "some was damaged: 'zeropull build' of the image makes"
                                           : "'zeropull pull --complete' fetches");
        if (image->origin) {
                printf("fetched from  ");
                cli_print_escaped(stdout, image->origin, strlen(image->origin));
                putchar('\n');
        }
        printf("disk          %s, %u layer device%s\n", cli_size_text(view->disk_size, a), view->device_count,
               view->device_count == 1 ? "" : "s");
        printf("built         %s\n", cli_time_text(image->created_s, text));
        printf("files         %s/images/%s\n", store, zp_digest_hex(&image->manifest_digest, hex));
        for (uint16_t i = 0; i < image->layer_count; i++)
                print_layer(view, store, i);
}

static json_t *device_json(const struct zp_device_record *device) {
        json_t *out = json_object();
        bool done = cli_json_set(out, "digest", cli_json_digest(&device->digest)) &&
                    cli_json_set(out, "size", json_integer((json_int_t) device->device_size)) &&
                    cli_json_set(out, "indexSize", json_integer((json_int_t) device->index_size)) &&
                    cli_json_set(out, "packSize", json_integer((json_int_t) device->pack_size)) &&
                    cli_json_set(out, "complete", json_boolean(device->is_complete));
        if (done)
                return out;
        json_decref(out);
        return NULL;
}

static json_t *devices_json(const struct layer_view *layer) {
        json_t *out = json_array();
        for (uint16_t i = 0; i < layer->record.device_count; i++)
                if (json_array_append_new(out, device_json(&layer->devices[i])) < 0) {
                        json_decref(out);
                        return NULL;
                }
        return out;
}

static json_t *layer_json(const struct view *view, const struct layer_view *layer) {
        const struct counts *c = &layer->counts;
        json_t *out = json_object();
        bool done =
                cli_json_set(out, "diffID", cli_json_digest(&layer->record.diff_id)) &&
                cli_json_set(out, "blobDigest", layer->has_blob ? cli_json_digest(&layer->blob.digest) : json_null()) &&
                cli_json_set(out, "blobSize", json_integer((json_int_t) layer->blob.size)) &&
                cli_json_set(out, "tarSize", json_integer((json_int_t) layer->record.tar_size)) &&
                cli_json_set(out, "entries", json_integer((json_int_t) layer->record.entries)) &&
                cli_json_set(out, "metadataDigest", cli_json_digest(&layer->record.metadata_digest)) &&
                cli_json_set(out, "metadataSize", json_integer((json_int_t) layer->record.metadata_size)) &&
                cli_json_set(out, "recipe", json_string(layer->record.recipe)) &&
                cli_json_set(out, "devices", devices_json(layer));
        if (done && view->with_counts)
                done = cli_json_set(out, "holds",
                                    json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "files",
                                              (json_int_t) c->files, "bytes", (json_int_t) c->bytes, "directories",
                                              (json_int_t) c->directories, "symlinks", (json_int_t) c->links,
                                              "hardLinks", (json_int_t) c->hard_links, "devices",
                                              (json_int_t) c->devices, "others", (json_int_t) c->others, "whiteouts",
                                              (json_int_t) c->whiteouts, "opaqueDirectories", (json_int_t) c->opaque));
        if (done)
                return out;
        json_decref(out);
        return NULL;
}

static json_t *view_json(const struct view *view, const char *store) {
        const struct zp_image_record *image = &view->image;
        char time[CLI_TIME_TEXT];
        json_t *out = json_object(), *names = json_array(), *layers = json_array();
        bool done = true;
        for (char **name = image->names; name && *name; name++)
                done &= json_array_append_new(names, cli_json_text(*name, strlen(*name))) == 0;
        for (uint16_t i = 0; i < image->layer_count; i++)
                done &= json_array_append_new(layers, layer_json(view, &view->layers[i])) == 0;
        /* both belong to the object from here on, whatever fails */
        done &= cli_json_set(out, "names", names);
        done &= cli_json_set(out, "layers", layers);
        done = done && cli_json_set(out, "digest", cli_json_digest(&image->manifest_digest)) &&
               cli_json_set(out, "mediaType",
                            cli_json_text(image->manifest_media_type, strlen(image->manifest_media_type))) &&
               cli_json_set(out, "configDigest", cli_json_digest(&image->config_digest)) &&
               cli_json_set(out, "platform", cli_json_text(image->platform, strlen(image->platform))) &&
               cli_json_set(out, "imageSize", json_integer((json_int_t) image->image_size)) &&
               cli_json_set(out, "snapshotSize", json_integer((json_int_t) view->sizes.packed)) &&
               cli_json_set(out, "complete", json_boolean(view->sizes.is_complete)) &&
               cli_json_set(out, "origin",
                            image->origin ? cli_json_text(image->origin, strlen(image->origin)) : json_null()) &&
               cli_json_set(out, "artifactDigest",
                            image->has_artifact_digest ? cli_json_digest(&image->artifact_digest) : json_null()) &&
               cli_json_set(out, "metadataDigest", cli_json_digest(&image->metadata_digest)) &&
               cli_json_set(out, "metadataSize", json_integer((json_int_t) image->metadata_size)) &&
               cli_json_set(out, "diskSize", json_integer((json_int_t) view->disk_size)) &&
               cli_json_set(out, "devices", json_integer(view->device_count)) &&
               cli_json_set(out, "created", json_string(cli_time_text(image->created_s, time))) &&
               cli_json_set(out, "store", cli_json_text(store, strlen(store)));
        if (done)
                return out;
        json_decref(out);
        return NULL;
}

static int print_document(struct zp_store *store, const struct zp_image_record *image, const char *file,
                          const struct zp_digest *digest, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_store_read_image_file(store, &image->manifest_digest, file, ZP_LIMIT_JSON_SIZE, digest, &text, &size,
                                         err);
        if (r == 0)
                fwrite(text, 1, size, stdout);
        return r;
}

static int inspect(const struct cli_call *call, struct zp_store *store, struct view *view, struct zp_error *err) {
        const struct zp_image_record *image = &view->image;
        if (cli_flag(call, OPTION_MANIFEST))
                return print_document(store, image, "manifest.json", &image->manifest_digest, err);
        if (cli_flag(call, OPTION_CONFIG))
                return print_document(store, image, "config.json", &image->config_digest, err);
        view->with_counts = cli_flag(call, OPTION_LAYERS);
        int r = take_all(store, view, err);
        if (r == 0 && call->json)
                r = cli_print_json(view_json(view, zp_store_path(store)), err);
        else if (r == 0)
                print_text(view, zp_store_path(store));
        for (uint16_t i = 0; i < ZP_LIMIT_LAYERS; i++)
                free(view->layers[i].blob.media_type);
        return r;
}

static int run(struct cli_call *call, struct zp_error *err) {
        zp_auto(zp_store_close) struct zp_store *store = NULL;
        if (cli_flag(call, OPTION_MANIFEST) && cli_flag(call, OPTION_CONFIG))
                return cli_usage_error(call, err, "inspect: --manifest or --config, not both");
        zp_autofree struct view *view = calloc(1, sizeof *view);
        if (!view)
                return zp_error_errno(err, ENOMEM, "inspect");
        int r = cli_open_image(call, ZP_STORE_READ, call->arguments[0], &store, &view->image, err);
        if (r == 0)
                r = inspect(call, store, view, err);
        zp_image_record_clear(&view->image);
        return r;
}

const struct cli_command cli_inspect = {
        .name = "inspect",
        .arguments = "IMAGE",
        .summary = "Tell all about an image in the store",
        .example = "zeropull inspect --layers registry.example/web:3",
        .options = options,
        .arguments_min = 1,
        .arguments_max = 1,
        .run = run,
};
