/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/preloaded.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* For an image, or for a file. */
struct look {
        struct snap_look look; /* first */
        struct zp_digest manifest;
        char *file; /* NULL: it is the image that is looked for */
        uint64_t offset;
        int result;
        struct zp_error err;
        struct zp_import_image image;
        struct zp_import_piece piece;
};

static void work(struct snap_look *look, const char *path) {
        struct look *l = (struct look *) look;
        l->result = l->file ? zp_import_read(path, l->file, l->offset, &l->piece, &l->err)
                            : zp_import_look(path, &l->manifest, &l->image, &l->err);
}

static void free_look(struct snap_look *look) {
        struct look *l = (struct look *) look;
        zp_import_image_clear(&l->image);
        free(l->piece.bytes);
        free(l->file);
        free(l);
}

static struct look *new_look(const struct zp_digest *manifest, const char *file, uint64_t offset) {
        struct look *l = calloc(1, sizeof *l);
        if (!l)
                return NULL;
        l->look = (struct snap_look){ .work = work, .free = free_look };
        l->offset = offset;
        if (manifest)
                l->manifest = *manifest;
        if (file && !(l->file = strdup(file))) {
                free(l);
                return NULL;
        }
        return l;
}

/* Its result, with *out to be freed when that is not negative. */
static int ask(struct snap_preloads *preloads, size_t number, const struct zp_digest *manifest, const char *file,
               uint64_t offset, struct look **out, struct zp_error *err) {
        struct look *l = new_look(manifest, file, offset);
        if (!l)
                return zp_error_errno(err, ENOMEM, "preload '%s'", snap_preloads_path(preloads, number));
        int r = snap_preloads_ask(preloads, number, &l->look, err);
        if (r < 0)
                return r;
        r = l->result;
        if (r >= 0)
                *out = l;
        else if (err)
                *err = l->err;
        if (r < 0)
                snap_look_free(&l->look);
        return r;
}

int snap_preloaded_look(struct snap_preloads *preloads, size_t number, const struct zp_digest *manifest,
                        struct zp_import_image *out, struct zp_error *err) {
        struct look *l;
        *out = (struct zp_import_image){ 0 };
        int r = ask(preloads, number, manifest, NULL, 0, &l, err);
        if (r < 0)
                return r;
        *out = l->image;
        l->image = (struct zp_import_image){ 0 };
        snap_look_free(&l->look);
        return r;
}

int snap_preloaded_read(void *context, const char *file, uint64_t offset, struct zp_import_piece *out,
                        struct zp_error *err) {
        const struct snap_preloaded *from = context;
        struct look *l;
        int r = ask(from->preloads, from->number, NULL, file, offset, &l, err);
        if (r < 0)
                return r;
        *out = l->piece;
        l->piece = (struct zp_import_piece){ 0 };
        snap_look_free(&l->look);
        return 0;
}
