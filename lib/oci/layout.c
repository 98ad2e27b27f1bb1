/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/layout.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/json.h"
#include "oci/manifest-internal.h"

#define REF_NAME "org.opencontainers.image.ref.name"

static void release(const struct zp_layout *layout, struct zp_extent *extent) {
        if (layout->is_own_fd)
                close(extent->fd);
}

static int read_whole(const struct zp_layout *layout, const char *path, char **out, size_t *size,
                      struct zp_error *err) {
        struct zp_extent extent;
        int r = layout->find(layout->files, path, &extent, err);
        if (r < 0)
                return r;
        r = zp_extent_read(&extent, path, ZP_LIMIT_JSON_SIZE, out, err);
        release(layout, &extent);
        if (r == 0)
                *size = (size_t) extent.size;
        return r;
}

static int check_version(const struct zp_layout *layout, struct zp_error *err) {
        zp_autofree char *body = NULL;
        size_t size;
        int r = read_whole(layout, "oci-layout", &body, &size, err);
        if (r == -ENOENT) {
                zp_error_set(err, EBADMSG, "not an OCI image layout: it has no file 'oci-layout'");
                zp_error_hint(err, "for the output of `docker save` use docker-archive:FILE");
                return -EBADMSG;
        }
        zp_auto(json_decref) json_t *json = NULL;
        const char *version;
        if (r == 0)
                r = zp_json_load(body, size, "oci-layout", &json, err);
        if (r == 0)
                r = zp_json_text(json, "imageLayoutVersion", ZP_JSON_REQUIRED, "oci-layout", &version, err);
        if (r < 0)
                return r;
        if (strncmp(version, "1.", 2) != 0)
                return zp_error_set(err, ENOTSUP, "oci-layout: version '%.32s', not 1.x", version);
        return 0;
}

/* What the search for a name has found so far. */
struct search {
        json_t *found;
        unsigned count;
        char names[300]; /* "1.0, latest" */
};

static void add_name(struct search *search, const char *name) {
        size_t used = strlen(search->names);
        if (used + strlen(name) + 3 < sizeof search->names)
                sprintf(search->names + used, "%s%s", used ? ", " : "", name);
}

static int consider(json_t *entry, const char *tag, struct search *search, struct zp_error *err) {
        const char *media_type, *name = NULL;
        json_t *annotations;
        int r = zp_json_text(entry, "mediaType", ZP_JSON_OPTIONAL, "index.json", &media_type, err);
        if (r == 0)
                r = zp_json_get(entry, "annotations", JSON_OBJECT, ZP_JSON_OPTIONAL, "index.json", &annotations, err);
        if (r == 0 && annotations)
                r = zp_json_text(annotations, REF_NAME, ZP_JSON_OPTIONAL, "index.json", &name, err);
        if (r < 0)
                return r;
        if (!media_type || !zp_is_manifest_type(media_type))
                return 0;
        if (name)
                add_name(search, name);
        if (tag && (!name || strcmp(name, tag) != 0))
                return 0;
        json_t *digest = json_object_get(entry, "digest");
        if (!search->found || !json_equal(digest, json_object_get(search->found, "digest")))
                search->count++;
        search->found = entry;
        return 0;
}

static int find_entry(json_t *index, const char *tag, struct zp_descriptor *out, struct zp_error *err) {
        json_t *entries, *entry;
        struct search search = { 0 };
        size_t i;
        int r = zp_json_get(index, "manifests", JSON_ARRAY, ZP_JSON_REQUIRED, "index.json", &entries, err);
        json_array_foreach(entries, i, entry) {
                if (r == 0)
                        r = consider(entry, tag, &search, err);
        }
        if (r < 0)
                return r;
        if (search.count == 1)
                return zp_descriptor_parse(search.found, "index.json", out, err);
        if (search.count == 0) {
                if (!tag)
                        return zp_error_set(err, ENOENT, "the layout has no images");
                zp_error_set(err, ENOENT, "no image '%s'", tag);
        } else if (tag) {
                return zp_error_set(err, EBADMSG, "'%s' names %u different images", tag, search.count);
        } else {
                zp_error_set(err, EINVAL, "the layout has %u images; which one is meant?", search.count);
        }
        if (search.names[0])
                zp_error_hint(err, "add one of its names behind a colon: %s", search.names);
        return search.count ? -EINVAL : -ENOENT;
}

static int read_root(const struct zp_layout *layout, const char *tag, struct zp_document *out, struct zp_error *err) {
        int r = check_version(layout, err);
        if (r < 0)
                return r;
        zp_autofree char *body = NULL;
        size_t size;
        zp_auto(json_decref) json_t *index = NULL;
        struct zp_descriptor entry = { 0 };
        r = zp_part_result(read_whole(layout, "index.json", &body, &size, err), err);
        if (r == 0)
                r = zp_json_load(body, size, "index.json", &index, err);
        if (r == 0)
                r = find_entry(index, tag, &entry, err);
        if (r < 0)
                return r;
        char path[100] = "blobs/sha256/";
        zp_digest_hex(&entry.digest, path + strlen(path));
        out->media_type = entry.media_type;
        out->has_digest = true;
        out->digest = entry.digest;
        return zp_part_result(read_whole(layout, path, &out->body, &out->size, err), err);
}

int zp_layout_root(const struct zp_layout *layout, const char *tag, struct zp_document *out, struct zp_error *err) {
        int r = read_root(layout, tag, out, err);
        if (r < 0)
                zp_document_clear(out);
        return r;
}

int zp_layout_blob(const struct zp_layout *layout, const struct zp_descriptor *blob, zp_blob_sink sink, void *context,
                   struct zp_error *err) {
        char path[100] = "blobs/sha256/";
        zp_digest_hex(&blob->digest, path + strlen(path));
        struct zp_extent extent;
        int r = layout->find(layout->files, path, &extent, err);
        if (r < 0)
                return r;
        if (extent.size != blob->size)
                r = zp_error_set(err, EBADMSG, "it has %ju bytes, not %ju", (uintmax_t) extent.size,
                                 (uintmax_t) blob->size);
        else
                r = zp_extent_stream(&extent, path, sink, context, err);
        release(layout, &extent);
        return r;
}
