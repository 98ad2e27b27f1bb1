/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading payloads: fields by path with their one type, and what of an event can be an image at all.
 */
#ifndef HOOK_PROVIDERS_PAYLOAD_H
#define HOOK_PROVIDERS_PAYLOAD_H

#include "oci/json.h"
#include "registry-hook/providers/provider.h"

/* For the messages of zp_json_*. */
#define HOOK_PAYLOAD "payload"

/* In bytes. What `limits: {body: …}` allows at most: Distribution repeats the headers of whoever pushed, a megabyte of
 * them, each character as up to six, and the Host header twice. */
#define HOOK_PAYLOAD_MAX (64u << 20)

/* The request's body as a JSON object. */
int hook_payload_load(const struct hook_request *request, json_t **out, struct zp_error *err);

/* A string somewhere in an object. */
struct hook_field {
        const char *path; /* "target.repository" */
        enum zp_json_need need;
        const char **out; /* stays the document's; NULL when it, or an object on the way, is absent or null */
};
/* Reads them all; the first that has another type, or is missing though required, is -EBADMSG. */
int hook_payload_read(json_t *root, const struct hook_field *fields, size_t count, struct zp_error *err);
#define HOOK_PAYLOAD_READ(root, fields, err) hook_payload_read(root, fields, sizeof(fields) / sizeof *(fields), err)

/* Says why nothing came of it, in one harmless line; returns 0. */
int hook_payload_ignore(char *reason, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The host in "https://host:port/path", with or without the scheme and the path; malloc'ed, NULL: out of memory. */
char *hook_payload_host(const char *url);

/* Names of images have no upper-case letters; some payloads have names of their own for them. */
void hook_payload_lower(char *name);

/* Whether it is the artifactType of what we publish. */
bool hook_payload_is_own(const char *artifact_type);

/* Adds an event, under the endpoint's host if it has one. What is no image adds nothing, and is success: another media
 * type than a manifest's or an index's, digests by another algorithm than SHA-256, and what no reference can name,
 * which events->odd counts: whoever may push says the Host header that becomes the registry's name, and a registry that
 * sends again what is refused must not be stopped by that. Empty strings count as not told. */
int hook_payload_add(const struct hook_endpoint *endpoint, struct hook_events *events,
                     const struct hook_event_text *text, char *reason, struct zp_error *err);

#endif
