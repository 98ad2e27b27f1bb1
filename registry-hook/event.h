/* SPDX-License-Identifier: Apache-2.0
 *
 * What happened in a registry, whoever told it: a notification, the reconcile poll, or a person.
 */
#ifndef HOOK_EVENT_H
#define HOOK_EVENT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/error.h"

/* Of one notification: a multi-arch push of every known platform tells a few dozen. */
#define HOOK_EVENTS_MAX 1024

/* Sizes with the final NUL; the limits are those of references (oci/reference.h). */
#define HOOK_HOST_SIZE 264
#define HOOK_REPOSITORY_SIZE 256
#define HOOK_TAG_SIZE 129
#define HOOK_EVENT_ID_SIZE 129
#define HOOK_AGENT_SIZE 129
#define HOOK_MEDIA_TYPE_SIZE 129

enum hook_event_kind {
        HOOK_PUSH,
        HOOK_DELETE,
        HOOK_WISH, /* for what a digest names, whatever tags name */
};

struct hook_event {
        enum hook_event_kind kind;
        char host[HOOK_HOST_SIZE]; /* "registry.example:5000", lower case */
        char repository[HOOK_REPOSITORY_SIZE];
        char tag[HOOK_TAG_SIZE]; /* "" when pushed by digest, or not told */
        bool has_digest;
        struct zp_digest digest;               /* of the manifest or index */
        char media_type[HOOK_MEDIA_TYPE_SIZE]; /* of the manifest, or its artifactType where told; else "" */
        char id[HOOK_EVENT_ID_SIZE];           /* the same for a repeated delivery; "": not told */
        char agent[HOOK_AGENT_SIZE];           /* who did it: User-Agent or actor; "": not told */
};

/* The same as text from outside; NULL for what is not told. `digest` and `tag`: at least one for a push. */
struct hook_event_text {
        enum hook_event_kind kind;
        const char *host, *repository, *tag, *digest, *media_type, *id, *agent;
};

struct hook_events {
        struct hook_event *items;
        size_t count, capacity;
        size_t odd; /* left out: what they name can be no image (hook_payload_add) */
};

/* Checks each part against the grammar of references and adds the event. The host becomes lower case, and a "http://"
 * or "https://" before it and "/" behind it are taken off; docker.io/x becomes docker.io/library/x; an `id` that is too
 * long is replaced by its SHA-256, an `agent` or `media_type` is cut. -EBADMSG: a part is malformed, the message names
 * it; -EHOSTUNREACH: the host is well-formed, but no reference can name it ("vm": no dot, no port); -E2BIG:
 * HOOK_EVENTS_MAX are there; -ENOMEM. */
int hook_events_add(struct hook_events *events, const struct hook_event_text *text, struct zp_error *err);
/* A push of what a reference names ("[docker://]host/repository:tag"); a wish for the digest, also beside a tag.
 * -EINVAL or -EBADMSG: it is none. */
int hook_events_add_reference(struct hook_events *events, const char *reference, struct zp_error *err);
void hook_events_clear(struct hook_events *events);

#endif
