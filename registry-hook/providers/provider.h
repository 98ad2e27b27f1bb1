/* SPDX-License-Identifier: Apache-2.0
 *
 * What stands between the HTTP server and those who know what a registry's push notification looks like. A provider is
 * one file, NAME.c, and one row in the table of providers.c.
 *
 * A provider works on what it is given and nothing else: it opens no file, asks no server (least of all a URL out of a
 * payload), keeps no state, and runs on several threads at once. Whether a host is allowed, whether an event was seen
 * before, and what it leads to, is decided by whoever called.
 */
#ifndef HOOK_PROVIDERS_PROVIDER_H
#define HOOK_PROVIDERS_PROVIDER_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "registry-hook/event.h"

/* One HTTP request, as it came. All strings live until the answer is sent. */
struct hook_request {
        const char *path;   /* the last component of /hooks/NAME: a configured endpoint's name */
        const char *method; /* "POST" */
        const char *peer;   /* the sender's address, "192.0.2.7" */
        const char *body;   /* NUL-terminated beyond its size; may hold NULs */
        size_t body_size;
        int64_t now_s; /* Unix time: tokens have an end */
        /* The first header of that name (case does not matter), or parameter of the query (unescaped); NULL: none. */
        const char *(*header)(const void *context, const char *name);
        const char *(*query)(const void *context, const char *name);
        const void *context;
};

#define HOOK_SECRETS_MAX 4

/* What the configuration says of one endpoint (docs/hook.md). Does not change while a request is under way. */
struct hook_endpoint {
        const char *name;
        const struct hook_provider *provider;
        /* Any of them will do, so that they can be exchanged. None: the endpoint is open to whoever reaches it, which
         * the configuration had to say in so many words. What one is, is the provider's: an HMAC key, the exact
         * Authorization header, a token, "user:password". */
        const char *secrets[HOOK_SECRETS_MAX];
        size_t secret_count;
        /* Takes the place of the host in payloads, or says the one that they lack; NULL: the payload's. */
        const char *host;
        /* Only for providers with `takes_keys`, in place of secrets; NULL: none. A JSON Web Key Set, and whose tokens
         * are good: anybody can have one made by the same keys for any audience, so that `sender` is needed too. */
        const char *keys;
        size_t keys_size;
        const char *sender;
        const char *audience; /* NULL: any */
};

#define HOOK_REASON_SIZE 256
#define HOOK_ANSWER_SIZE 512

/* The answer, and what the payload told. */
struct hook_result {
        unsigned status;               /* HTTP: 200 or 202 also for what is understood and means nothing to us */
        char reason[HOOK_REASON_SIZE]; /* one line, for the answer and the log; never a secret */
        char answer[HOOK_ANSWER_SIZE]; /* a handshake's JSON, to send in place of the usual answer; else "" */
        struct hook_events events;     /* only with a status of 2xx */
};

struct hook_provider {
        const char *name;    /* in the configuration, and the endpoint's default name */
        const char *summary; /* "CNCF Distribution 2.x and 3.x" */
        bool wants_host;     /* payloads never name the registry: the endpoint must have `host` */
        bool takes_keys;     /* the endpoint may have `keys` and `sender` instead of secrets */
        /* 0: the request is from who knows a secret; -EACCES: it is not, or says nothing (401). Compares in constant
         * time. Not called for an endpoint without secrets and keys. */
        int (*authenticate)(const struct hook_endpoint *endpoint, const struct hook_request *request,
                            struct zp_error *err);
        /* Adds the payload's pushes and deletions. Those of blobs and pulls, of other package types, pings and
         * handshakes add nothing and are success. -EBADMSG: not such a payload (400); -E2BIG: more than
         * HOOK_EVENTS_MAX events, -EFBIG: a body too large (413); -ENOMEM (503). `reason`, of HOOK_REASON_SIZE, may be
         * set to say what came. */
        int (*parse)(const struct hook_endpoint *endpoint, const struct hook_request *request,
                     struct hook_events *events, char *reason, struct zp_error *err);
        /* Answers what needs an answer of its own (a validation handshake); NULL: nothing does. True: `answer`, of
         * HOOK_ANSWER_SIZE, is the JSON to send with status 200. Only after authenticate; parse is not called then. */
        bool (*answer)(const struct hook_request *request, char *answer);
};

/* All providers, up to one without a name. */
extern const struct hook_provider hook_providers[];
/* NULL: there is none of that name. */
const struct hook_provider *hook_provider_find(const char *name);

/* Authenticates and parses: fills `out` in any case. With endpoint->host every event gets that host. `out` must be
 * zeroed, and its events cleared afterwards. Wrong method 405, not authenticated 401, malformed 400, too large or too
 * many events 413, no memory 503. */
void hook_provider_receive(const struct hook_endpoint *endpoint, const struct hook_request *request,
                           struct hook_result *out);

#endif
