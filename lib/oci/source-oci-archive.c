/* SPDX-License-Identifier: Apache-2.0
 *
 * `oci-archive:FILE[:TAG]`: an OCI image layout in a tar file.
 */
#include <stdlib.h>

#include "base/buffer.h"
#include "oci/archive.h"
#include "oci/layout.h"

struct archive_source {
        struct zp_layout layout;
        struct zp_archive *archive;
        char *path, *tag;
};

static int find_file(void *files, const char *path, struct zp_extent *out, struct zp_error *err) {
        return zp_archive_find(files, path, out, err);
}

static void archive_close(void *state) {
        struct archive_source *source = state;
        if (source->archive)
                zp_archive_close(source->archive);
        free(source->path);
        free(source->tag);
        free(source);
}
ZP_DEFINE_AUTO(struct archive_source, archive_close);

static int archive_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                        struct zp_error *err) {
        zp_auto(archive_close) struct archive_source *source = calloc(1, sizeof *source);
        if (!source)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        int r = zp_split_path(rest, &source->path, &source->tag, err);
        if (r == 0)
                r = zp_archive_open(source->path, options->cancel, &source->archive, err);
        if (r < 0)
                return r;
        source->layout = (struct zp_layout){ .files = source->archive, .find = find_file };
        *name = zp_format("oci-archive:%s%s%s", source->path, source->tag ? ":" : "", source->tag ? source->tag : "");
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        *state = zp_steal(&source);
        return 0;
}

static int archive_root(void *state, struct zp_document *out, struct zp_error *err) {
        struct archive_source *source = state;
        return zp_layout_root(&source->layout, source->tag, out, err);
}

static int archive_blob(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                        struct zp_error *err) {
        struct archive_source *source = state;
        return zp_layout_blob(&source->layout, blob, reader->sink, reader->context, err);
}

const struct zp_source_kind zp_source_oci_archive = {
        .prefix = "oci-archive:",
        .open = archive_open,
        .close = archive_close,
        .root = archive_root,
        .blob = archive_blob,
};
