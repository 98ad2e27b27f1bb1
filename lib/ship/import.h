/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes an image's snapshot over from another store on this machine, without its data. That store may be on a file
 * system that hangs: it is touched by zp_import_look() and zp_import_read() alone, which the caller runs where that
 * does no harm.
 */
#ifndef ZP_SHIP_IMPORT_H
#define ZP_SHIP_IMPORT_H

#include "base/cancel.h"
#include "store/store.h"

/* What a store says of an image. */
struct zp_import_image {
        struct zp_image_record image;
        struct zp_device_record *devices; /* of all its layers, each once */
        size_t device_count;
        struct zp_layer_record *layers; /* image.layer_count of them */
};
void zp_import_image_clear(struct zp_import_image *image);

/* Asks the store in the directory `path`. 1: *out is filled in, the caller's; 0: it does not have the image. */
int zp_import_look(const char *path, const struct zp_digest *manifest_digest, struct zp_import_image *out,
                   struct zp_error *err);

/* What one read brings at most: even slow storage has it soon, so that one which takes long hangs. */
#define ZP_IMPORT_PIECE ((size_t) 4 << 20)

struct zp_import_piece {
        char *bytes;        /* malloc'ed, the caller's */
        size_t size;        /* 0 only at the file's end, or behind it */
        uint64_t file_size; /* of all of it */
};
/* Reads what a file ("images/HEX/manifest.json") has at `offset`. */
int zp_import_read(const char *path, const char *file, uint64_t offset, struct zp_import_piece *out,
                   struct zp_error *err);

struct zp_import_from {
        const struct zp_import_image *image;
        /* As zp_import_read(). */
        int (*read)(void *context, const char *file, uint64_t offset, struct zp_import_piece *out,
                    struct zp_error *err);
        void *context;
};

/* Copies the image's metadata, layers and indexes that `into` does not have. They are checked as what comes from a
 * registry is: each file against its digest, the image's configuration against its manifest, the layers against the
 * configuration, metadata against its devices. That a layer is a faithful conversion is the other store's word, as it
 * is the word of whoever published an artifact; so nobody who wants signatures takes it from here. `name` and `origin`:
 * what the image is called, and where data can be fetched that nobody has. -EBADMSG; -EFBIG: a file above 2 GiB;
 * -ECANCELED, between two reads. */
int zp_import(const struct zp_import_from *from, struct zp_store *into, const char *name, const char *origin,
              const struct zp_cancel *cancel, struct zp_error *err);

#endif
