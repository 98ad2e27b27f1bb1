/* SPDX-License-Identifier: Apache-2.0
 *
 * Image references, "[host[:port]/]repository[:tag][@digest]", normalised as docker and skopeo do.
 * Grammar: github.com/distribution/reference.
 */
#ifndef ZP_OCI_REFERENCE_H
#define ZP_OCI_REFERENCE_H

#include <stdbool.h>

#include "base/digest.h"

struct zp_reference {
        char *registry;   /* "docker.io", "localhost:5000" */
        char *repository; /* "library/busybox" */
        char *tag;        /* NULL when there is a digest and no tag; else "latest" at least */
        bool has_digest;
        struct zp_digest digest;
};

/* -EINVAL with the reason. `out` must be cleared by the caller on success. */
int zp_reference_parse(const char *text, struct zp_reference *out, struct zp_error *err);
/* What the name of a source or a remote refers to that is in a registry: "docker://REFERENCE". -ENOTSUP: it is in none;
 * otherwise as zp_reference_parse(). */
#define ZP_REGISTRY_SCHEME "docker://"
int zp_reference_of_name(const char *name, struct zp_reference *out, struct zp_error *err);
/* "registry/repository[:tag][@digest]"; malloc'ed, the caller's; NULL: out of memory. */
char *zp_reference_text(const struct zp_reference *reference);
void zp_reference_clear(struct zp_reference *reference);

#endif
