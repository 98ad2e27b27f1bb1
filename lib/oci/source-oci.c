/* SPDX-License-Identifier: Apache-2.0
 *
 * `oci:DIR[:TAG]`: an OCI image layout in a directory.
 */
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "base/buffer.h"
#include "oci/layout.h"

struct oci_source {
        struct zp_layout layout;
        int dir_fd;
        char *path, *tag;
};

/* A layout may come from anybody: nothing outside of it is opened, and nothing but regular files. */
static int find_file(void *files, const char *path, struct zp_extent *out, struct zp_error *err) {
        struct oci_source *source = files;
        struct open_how how = { .flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, .resolve = RESOLVE_BENEATH };
        zp_autoclose int fd = (int) syscall(SYS_openat2, source->dir_fd, path, &how, sizeof how);
        struct stat st;
        if (fd < 0 && errno == EXDEV) {
                zp_error_set(err, EBADMSG, "open '%s': a link that leads out of the layout", path);
                zp_error_hint(err, "copy the layout with its links resolved, as `cp -rL` does");
                return -EBADMSG;
        }
        if (fd < 0 || fstat(fd, &st) < 0)
                return zp_error_errno(err, errno, "open '%s'", path);
        if (!S_ISREG(st.st_mode))
                return zp_error_set(err, EBADMSG, "open '%s': not a regular file", path);
        *out = (struct zp_extent){ .size = (uint64_t) st.st_size, .fd = zp_steal_fd(&fd) };
        return 0;
}

static void oci_close(void *state) {
        struct oci_source *source = state;
        if (source->dir_fd >= 0)
                close(source->dir_fd);
        free(source->path);
        free(source->tag);
        free(source);
}
ZP_DEFINE_AUTO(struct oci_source, oci_close);

static int oci_open(const char *rest, const struct zp_source_options *options, void **state, char **name,
                    struct zp_error *err) {
        (void) options;
        zp_auto(oci_close) struct oci_source *source = calloc(1, sizeof *source);
        if (!source)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        source->dir_fd = -1;
        int r = zp_split_path(rest, &source->path, &source->tag, err);
        if (r < 0)
                return r;
        source->dir_fd = open(source->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (source->dir_fd < 0 && errno == ENOTDIR) {
                zp_error_errno(err, ENOTDIR, "open '%s'", source->path);
                zp_error_hint(err, "for an archive file use oci-archive:FILE or docker-archive:FILE");
                return -ENOTDIR;
        }
        if (source->dir_fd < 0)
                return zp_error_errno(err, errno, "open '%s'", source->path);
        source->layout = (struct zp_layout){
                .files = source,
                .find = find_file,
                .is_own_fd = true,
        };
        *name = zp_format("oci:%s%s%s", source->path, source->tag ? ":" : "", source->tag ? source->tag : "");
        if (!*name)
                return zp_error_errno(err, ENOMEM, "open '%s'", rest);
        *state = zp_steal(&source);
        return 0;
}

static int oci_root(void *state, struct zp_document *out, struct zp_error *err) {
        struct oci_source *source = state;
        return zp_layout_root(&source->layout, source->tag, out, err);
}

static int oci_blob(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                    struct zp_error *err) {
        struct oci_source *source = state;
        return zp_layout_blob(&source->layout, blob, reader->sink, reader->context, err);
}

static const char *oci_local_path(void *state) {
        struct oci_source *source = state;
        return source->path;
}

const struct zp_source_kind zp_source_oci = {
        .prefix = "oci:",
        .open = oci_open,
        .close = oci_close,
        .root = oci_root,
        .local_path = oci_local_path,
        .blob = oci_blob,
};
