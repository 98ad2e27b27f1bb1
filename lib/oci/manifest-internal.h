/* SPDX-License-Identifier: Apache-2.0
 *
 * What the room knows of documents beyond manifest.h.
 */
#ifndef ZP_OCI_MANIFEST_INTERNAL_H
#define ZP_OCI_MANIFEST_INTERNAL_H

#include <jansson.h>

#include "oci/manifest.h"

/* Go's names in lower case; the variant that goes without saying (arm64 v8, amd64 v1) left out, the one
 * that must be said (arm v7) put in. */
void zp_platform_normalise(struct zp_platform *platform);
/* How well an image made for `offered` fits `wanted`: 0 not at all, more is better. */
int zp_platform_rank(const struct zp_platform *wanted, const struct zp_platform *offered);

/* Reads the members os, architecture and variant, in their normal form; "" where one is not given. */
int zp_platform_read(json_t *json, const char *what, struct zp_platform *out, struct zp_error *err);
/* As zp_document_kind(), of a document that was parsed. */
int zp_document_kind_of(json_t *json, const char *media_type, enum zp_document_kind *out, struct zp_error *err);
/* Reads mediaType, digest and size; the media type is malloc'ed, the caller's. */
int zp_descriptor_parse(json_t *json, const char *what, struct zp_descriptor *out, struct zp_error *err);
/* True for a manifest's or an index's media type. */
bool zp_is_manifest_type(const char *media_type);
/* The media type of a manifest that has been parsed: what it says, what came with it (may be NULL), or
 * what its config's type implies. malloc'ed; NULL: out of memory. */
char *zp_manifest_media_type(const char *body, size_t size, const char *outer, const char *config_type);

#endif
