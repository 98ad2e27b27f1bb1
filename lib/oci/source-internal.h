/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kind of image source has to offer. Kinds deliver bytes; source.c checks them.
 */
#ifndef ZP_OCI_SOURCE_INTERNAL_H
#define ZP_OCI_SOURCE_INTERNAL_H

#include "oci/source.h"

/* An index or manifest as it was received. */
struct zp_document {
        char *body; /* malloc'ed, NUL-terminated */
        size_t size;
        char *media_type; /* malloc'ed; NULL: not said */
        bool has_digest;  /* what the name promised; checked by source.c */
        struct zp_digest digest;
};

void zp_document_clear(struct zp_document *document);

/* Who reads a blob. */
struct zp_blob_reader {
        zp_blob_sink sink;
        void *context;
        const struct zp_cancel *cancel; /* beside the source's; NULL: none */
        bool is_document;               /* read to resolve the image, which has little patience */
};

struct zp_source_kind {
        const char *prefix; /* "oci:" */
        /* `rest` is the name without the prefix. *name: what zp_image.name will be (malloc'ed). */
        int (*open)(const char *rest, const struct zp_source_options *options, void **state, char **name,
                    struct zp_error *err);
        void (*close)(void *state);
        /* The document that the name stands for. */
        int (*root)(void *state, struct zp_document *out, struct zp_error *err);
        /* A manifest named by an index; NULL: read as a blob. */
        int (*manifest)(void *state, const struct zp_descriptor *descriptor, struct zp_document *out,
                        struct zp_error *err);
        /* What zp_source_local_path gives; NULL: there is none. */
        const char *(*local_path)(void *state);
        /* Streams a blob, unchecked. */
        int (*blob)(void *state, const struct zp_descriptor *blob, const struct zp_blob_reader *reader,
                    struct zp_error *err);
};

extern const struct zp_source_kind zp_source_registry, zp_source_oci, zp_source_oci_archive, zp_source_docker_archive;

/* For reading what an image says it has: makes -ENOENT -EBADMSG, for then the image is there, and malformed. */
int zp_part_result(int r, struct zp_error *err);

/* A run of bytes in a file. */
struct zp_extent {
        int fd;
        uint64_t offset, size;
};

/* Gives the extent's bytes to the sink. `name` is for messages. */
int zp_extent_stream(const struct zp_extent *extent, const char *name, zp_blob_sink sink, void *context,
                     struct zp_error *err);
/* Reads it whole, at most `limit` bytes; *out is malloc'ed and NUL-terminated. */
int zp_extent_read(const struct zp_extent *extent, const char *name, size_t limit, char **out, struct zp_error *err);

/* "PATH[:REST]" → the absolute path without symbolic links and REST (NULL: none), both malloc'ed. */
int zp_split_path(const char *text, char **path, char **rest, struct zp_error *err);

#endif
