/* SPDX-License-Identifier: Apache-2.0
 *
 * A request to a provider as one run of bytes, which is how the corpus in corpus/provider has them:
 *
 *     PROVIDER [HOST]
 *     Header-Name: value
 *
 *     BODY
 */
#ifndef ZP_FUZZ_PROVIDER_REQUEST_H
#define ZP_FUZZ_PROVIDER_REQUEST_H

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "registry-hook/providers/provider.h"

#define PROVIDER_REQUEST_HEADERS 16

struct provider_request {
        char *text; /* all of it, cut into strings */
        struct {
                const char *name, *value;
        } headers[PROVIDER_REQUEST_HEADERS], query;
        struct hook_endpoint endpoint; /* without secrets */
        struct hook_request request;   /* which points back: not to be copied */
};

static const char *provider_request_header(const void *context, const char *name) {
        const struct provider_request *request = context;
        for (size_t i = 0; i < PROVIDER_REQUEST_HEADERS && request->headers[i].name; i++)
                if (strcasecmp(request->headers[i].name, name) == 0)
                        return request->headers[i].value;
        return NULL;
}

static const char *provider_request_query(const void *context, const char *name) {
        const struct provider_request *request = context;
        return request->query.name && strcmp(request->query.name, name) == 0 ? request->query.value : NULL;
}

/* Sets a header, in place of one of that name. */
static inline void provider_request_set(struct provider_request *request, const char *name, const char *value) {
        size_t i = 0;
        while (request->headers[i].name && strcasecmp(request->headers[i].name, name) != 0)
                i++;
        if (i < PROVIDER_REQUEST_HEADERS - 1) {
                request->headers[i].name = name;
                request->headers[i].value = value;
        }
}

/* The line at *at, without its newline; NULL: there is none. */
static inline char *provider_request_line(char **at) {
        char *line = *at, *end = strchr(line, '\n');
        if (!end)
                return NULL;
        *end = '\0';
        *at = end + 1;
        return line;
}

/* False when the bytes are not in that form. What it took is given back by provider_request_clear in any case. */
static inline bool provider_request_parse(const void *data, size_t size, struct provider_request *out) {
        memset(out, 0, sizeof *out);
        out->text = calloc(1, size + 1);
        if (!out->text)
                return false;
        memcpy(out->text, data, size);
        char *at = out->text, *line = provider_request_line(&at), *host = line ? strchr(line, ' ') : NULL;
        if (!line)
                return false;
        if (host)
                *host++ = '\0';
        out->endpoint = (struct hook_endpoint){ .name = line, .provider = hook_provider_find(line), .host = host };
        while ((line = provider_request_line(&at)) && *line) {
                char *value = strstr(line, ": ");
                if (!value)
                        return false;
                *value = '\0';
                provider_request_set(out, line, value + 2);
        }
        out->request = (struct hook_request){
                .path = out->endpoint.name,
                .method = "POST",
                .peer = "192.0.2.7",
                .body = at,
                .body_size = size - (size_t) (at - out->text),
                .now_s = 1772600800,
                .header = provider_request_header,
                .query = provider_request_query,
                .context = out,
        };
        return line && out->endpoint.provider && !(out->endpoint.provider->wants_host && !host);
}

static inline void provider_request_clear(struct provider_request *request) {
        free(request->text);
}

#endif
