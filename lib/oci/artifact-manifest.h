/* SPDX-License-Identifier: Apache-2.0
 *
 * What the manifests of all our artifacts have in common (image-spec 1.1, "Guidelines for Artifact Usage"): an
 * artifactType, the empty config, blobs as layers, and the manifest they belong to as subject.
 */
#ifndef ZP_OCI_ARTIFACT_MANIFEST_H
#define ZP_OCI_ARTIFACT_MANIFEST_H

#include "oci/json.h"
#include "oci/manifest.h"

#define ZP_OCI_MANIFEST_TYPE "application/vnd.oci.image.manifest.v1+json"

/* Writes one. `layers` and `annotations` (NULL: none) are taken over, also on failure; a NULL `layers` is the failure
 * of whoever made it: out of memory. *out is malloc'ed and NUL-terminated. */
int zp_artifact_manifest_format(const char *artifact_type, json_t *layers, const struct zp_descriptor *subject,
                                json_t *annotations, char **out, size_t *size, struct zp_error *err);

/* Reads one of that artifactType; `what` names it in messages. *layers, an array, is root's. The caller frees
 * subject->media_type. -EBADMSG: it is another, or has no layers or subject. */
int zp_artifact_manifest_read(json_t *root, const char *artifact_type, const char *what, json_t **layers,
                              struct zp_descriptor *subject, struct zp_error *err);

#endif
