/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes out of local files, for the sources that are one or are made of them.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/file.h"
#include "oci/source-internal.h"

#define PIECE_SIZE (256u << 10)

int zp_extent_stream(const struct zp_extent *extent, const char *name, zp_blob_sink sink, void *context,
                     struct zp_error *err) {
        zp_autofree char *piece = malloc(PIECE_SIZE);
        if (!piece)
                return zp_error_errno(err, ENOMEM, "read '%s'", name);
        for (uint64_t done = 0; done < extent->size;) {
                size_t n = (size_t) zp_min_u64(PIECE_SIZE, extent->size - done);
                int r = zp_pread_all(extent->fd, piece, n, extent->offset + done, name, err);
                if (r == 0)
                        r = sink(context, piece, n, err);
                if (r != 0)
                        return r;
                done += n;
        }
        return 0;
}

int zp_extent_read(const struct zp_extent *extent, const char *name, size_t limit, char **out, struct zp_error *err) {
        if (extent->size > limit)
                return zp_error_set(err, EFBIG, "read '%s': larger than %zu bytes", name, limit);
        zp_autofree char *data = malloc((size_t) extent->size + 1);
        if (!data)
                return zp_error_errno(err, ENOMEM, "read '%s'", name);
        int r = zp_pread_all(extent->fd, data, (size_t) extent->size, extent->offset, name, err);
        if (r < 0)
                return r;
        data[extent->size] = '\0';
        *out = zp_steal(&data);
        return 0;
}

int zp_split_path(const char *text, char **path, char **rest, struct zp_error *err) {
        size_t size = strcspn(text, ":");
        zp_autofree char *given = strndup(text, size);
        zp_autofree char *tail = text[size] && text[size + 1] ? strdup(text + size + 1) : NULL;
        if (!given || (text[size] && text[size + 1] && !tail))
                return zp_error_errno(err, ENOMEM, "open '%s'", text);
        if (!given[0])
                return zp_error_set(err, EINVAL, "image source: the path is empty");
        *path = realpath(given, NULL);
        if (!*path)
                return zp_error_errno(err, errno, "open '%s'", given);
        *rest = zp_steal(&tail);
        return 0;
}
