/* SPDX-License-Identifier: Apache-2.0
 *
 * Where looks get their documents from: a registry, or (in tests) whatever somebody made up.
 */
#ifndef HOOK_LOOK_INTERNAL_H
#define HOOK_LOOK_INTERNAL_H

#include "registry-hook/look.h"

/* A document with its digest. */
struct hook_document {
        char *body, *media_type; /* malloc'ed; the body NUL-terminated */
        size_t size;
        struct zp_digest digest;
};

struct hook_documents {
        /* GETs PATH ("manifests/latest", "blobs/sha256:…"); `expected` NULL: whatever it is. */
        int (*get)(void *context, const char *path, const char *accept, const struct zp_digest *expected,
                   struct hook_document *out, struct zp_error *err);
        void *context;
};

/* hook_look, of these documents; `out` is zeroed, request->registry and host are not looked at. */
int hook_look_at(const struct hook_documents *documents, const struct hook_look_request *request, struct hook_look *out,
                 struct zp_error *err);

#endif
