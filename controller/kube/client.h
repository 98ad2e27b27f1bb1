/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests to a Kubernetes API server. Every answer is bounded (an object: 3 MiB), every failure of the server's is an
 * errno with its code, reason and message in the text; credentials never are.
 *
 * How errors come back, from every function of this room that asks the server:
 *   -ENOENT     404
 *   -EEXIST     409 AlreadyExists (create)
 *   -EBUSY      409 Conflict: the object has changed since it was read; another field manager owns a field
 *   -ESTALE     410: the resource version or continue token is too old
 *   -EINVAL     400, 422, and 500 for an applied field that the schema lacks: the message says which
 *   -EACCES     401, after the credentials were read again
 *   -EPERM      403: RBAC, an admission policy, a quota; a namespace that is being deleted
 *   -ENOTSUP    405, 406, 415
 *   -EAGAIN     429, 500, 502, 503, 504, also after retries: try again later
 *   -ECANCELED  the client's flag or the request's was set, or it may not write any more
 *   -EBADMSG    the answer is not what the API promises;  -EFBIG: it is too large
 *   others      no answer came: -ECONNREFUSED, -EHOSTUNREACH, -ETIMEDOUT, -EIO, -EPROTO (TLS), -ENOMEM
 */
#ifndef KUBE_CLIENT_H
#define KUBE_CLIENT_H

#include <jansson.h>
#include <stdint.h>

#include "base/cancel.h"
#include "controller/kube/config.h"
#include "oci/json.h"
#include "oci/notice.h"

/* Thread-safe: one client serves the whole process; calls block their thread. */
struct zp_kube;

struct zp_kube_options {
        const struct zp_kube_config *config; /* must outlive the client, as the strings */
        const char *user_agent;              /* "zeropull-controller/0.1.0" */
        const struct zp_cancel *cancel;      /* ends every request within a second; NULL: never */
        struct zp_notice notice;             /* told when an answer is waited for, or a request repeated */
        /* Whether something may be changed at this moment: asked before each attempt, on its thread. NULL: it may. */
        bool (*may_write)(void *context);
        void *context;
};

/* Reads the credentials once, so that a missing file is an error here; sends nothing. */
int zp_kube_new(const struct zp_kube_options *options, struct zp_kube **out, struct zp_error *err);
/* No call is under way. */
void zp_kube_free(struct zp_kube *kube);
ZP_DEFINE_AUTO(struct zp_kube, zp_kube_free);

/* A kind of object, as its URLs have it: { "v1", "pods" }, { "zeropull.dev/v1alpha1", "imagesnapshots" }. Both strings
 * are constants. */
struct zp_kube_resource {
        const char *api_version;
        const char *plural;
};

/* One object, or all of a collection. */
struct zp_kube_place {
        struct zp_kube_resource resource;
        const char *namespace;   /* NULL: cluster-scoped, or all namespaces */
        const char *name;        /* NULL: the collection */
        const char *subresource; /* "status"; NULL: none */
};

struct zp_kube_request {
        struct zp_kube_place place;
        const char *path;               /* instead of the place, "/version"; NULL */
        const char *query;              /* "labelSelector=a%3Db&limit=5", escaped; NULL */
        const char *method;             /* NULL: GET */
        const char *content_type;       /* of body; NULL: application/json */
        json_t *body;                   /* borrowed; NULL: none */
        const struct zp_cancel *cancel; /* beside the client's; NULL */
        unsigned timeout_ms;            /* for all attempts together; 0: 30 s */
        bool is_farewell;               /* sent even when all is cancelled, once, and given up after 2 s */
        bool is_anybodys;               /* may change something although the client may not write: a lease, an event */
};

/* One request, and its answer into *out (the caller's; `out` may be NULL). What says "later" is repeated up to four
 * times within timeout_ms: 429, 503 and others with a Retry-After of up to 10 s, a connection that was refused; and,
 * when the request is not a POST, which might have been carried out, 502, 504 and connections that broke. 401 reads the
 * credentials again, once; their files are also looked at every minute. */
int zp_kube_call(struct zp_kube *kube, const struct zp_kube_request *request, json_t **out, struct zp_error *err);

/* The common ones. `out` may be NULL. */
int zp_kube_get(struct zp_kube *kube, const struct zp_kube_place *place, json_t **out, struct zp_error *err);
/* place->name is not used: the object has its name. Unknown fields are an error (fieldValidation=Strict). */
int zp_kube_create(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                   struct zp_error *err);
/* PUT: the object's metadata.resourceVersion must be the current one (-EBUSY). */
int zp_kube_replace(struct zp_kube *kube, const struct zp_kube_place *place, json_t *object, json_t **out,
                    struct zp_error *err);
/* In the background. `uid`: only that very object (-EBUSY else); NULL: whichever. Absent is -ENOENT. */
int zp_kube_delete(struct zp_kube *kube, const struct zp_kube_place *place, const char *uid, struct zp_error *err);

/* Called with each object of a list; `object` is borrowed (json_incref to keep). Negative ends the listing, which
 * returns it. */
typedef int (*zp_kube_each)(void *context, json_t *object, struct zp_error *err);
/* Lists a collection in pages of 500, one object in memory at a time (≤ 3 MiB; a page: ≤ 64 MiB). `query`: selectors,
 * escaped; NULL. When the continue token expires on the way the list is asked for once more, in one piece, so that
 * `each` may see an object twice. *resource_version (may be NULL): malloc'ed, where a watch may begin. List items lack
 * apiVersion and kind. */
int zp_kube_list(struct zp_kube *kube, const struct zp_kube_place *place, const char *query, zp_kube_each each,
                 void *context, char **resource_version, struct zp_error *err);

/* A query's value, percent-escaped; malloc'ed; NULL: out of memory. */
char *zp_kube_escape(const char *text);

/* metadata of an object from the server: never NULL, "" when absent; the object's. */
const char *zp_kube_name(json_t *object);
const char *zp_kube_namespace(json_t *object);
const char *zp_kube_uid(json_t *object);
const char *zp_kube_resource_version(json_t *object);
/* metadata.generation; 0 when absent. */
int64_t zp_kube_generation(json_t *object);
bool zp_kube_is_being_deleted(json_t *object);

/* What an object's time field and a status condition need: now, RFC 3339 in UTC, seconds ("2026-01-02T03:04:05Z"). */
#define ZP_KUBE_TIME_SIZE 32
char *zp_kube_time_now(char text[ZP_KUBE_TIME_SIZE]);

/* Of the whole process's requests to this server, for metrics. Any thread. */
struct zp_kube_statistics {
        uint64_t requests, retries, throttled; /* throttled: answers 429 */
        uint64_t failures;                     /* no answer, or 5xx */
        uint64_t credential_reloads;
};
struct zp_kube_statistics zp_kube_statistics(struct zp_kube *kube);

#endif
