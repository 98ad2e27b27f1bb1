/* SPDX-License-Identifier: Apache-2.0
 *
 * The HTTP server: limits, who may do what, routes, answers. What a route does is in api-*.c, receive.c, watch.c.
 */
#ifndef HOOK_SERVER_H
#define HOOK_SERVER_H

#include <jansson.h>
#include <microhttpd.h>

#include "base/buffer.h"
#include "registry-hook/service.h"

struct hook_server;

/* Listens where the configuration says; more than that is not changed by a reload. */
int hook_server_new(struct hook_service *service, struct hook_server **out, struct zp_error *err);
/* The port the kernel gave, or the configured one. */
unsigned hook_server_port(const struct hook_server *server);
/* Ends slow clients, and lets watchers know that somebody is still there. Call once a second. */
void hook_server_tick(struct hook_server *server);
/* Waits for what is under way. The database must still run; watchers are sent home by hook_live_end before. */
void hook_server_free(struct hook_server *server);

/* ---- for routes ---- */

/* One request, from its headers until its answer is sent. */
struct hook_exchange {
        struct hook_server *server;
        struct hook_service *service;
        struct hook_config *config; /* held */
        struct MHD_Connection *connection;
        const struct hook_route *route;
        const char *method, *path;
        char argument[65]; /* what stands for '*' in the route's path */
        const char *who;   /* the token's name */
        enum hook_role role;
        struct zp_buffer body; /* NUL-terminated */
        unsigned refusal;      /* the status that follows the body, whatever is in it; 0: none */
        const char *refusal_reason;
        char allowed[32];   /* the path's methods, when it has none for this one */
        size_t reserved;    /* of the server's for large bodies */
        int64_t started_ms; /* monotonic */
        void *state;        /* the route's, while it waits */
        void (*free_state)(void *state);
};

struct hook_route {
        const char *method, *path; /* one '*' stands for one component */
        enum hook_role role;       /* at least; HOOK_NOBODY: everybody */
        enum MHD_Result (*run)(struct hook_exchange *x);
};
/* Fills in x->route and x->argument. 0, or the status to refuse with: 404, or 405 and x->allowed. */
unsigned hook_find_route(struct hook_exchange *x);

/* Answers; each gives the connection an answer and takes over what it is given. `json` NULL: out of memory. */
enum MHD_Result hook_reply_json(struct hook_exchange *x, unsigned status, json_t *json);
/* {"error": "…"} */
enum MHD_Result hook_reply_error(struct hook_exchange *x, unsigned status, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* By what the error is: 404, 409, 503… */
enum MHD_Result hook_reply_failed(struct hook_exchange *x, const struct zp_error *err);
enum MHD_Result hook_reply_static(struct hook_exchange *x, const char *type, const void *data, size_t size);
enum MHD_Result hook_reply_text(struct hook_exchange *x, const char *type, struct zp_buffer *text);

/* Lets the connection wait, costing no thread, until somebody resumes it; then the route runs (or its reader reads)
 * again. False: the service is ending. Call before whoever resumes can know of it. */
bool hook_suspend(struct hook_server *server, struct MHD_Connection *connection);
void hook_resume(struct hook_server *server, struct MHD_Connection *connection);

const char *hook_query(const struct hook_exchange *x, const char *name);
/* The query's word, which is one of `words` (NULL ends them); NULL: it is not there. -EINVAL: another. */
int hook_query_word(const struct hook_exchange *x, const char *name, const char *const *words, const char **out,
                    struct zp_error *err);
/* What stands for '*' in the path, as a number; false: it is none. */
bool hook_argument_number(const struct hook_exchange *x, int64_t *out);
/* The query's number, or `otherwise`; false: it is none. */
bool hook_query_number(const struct hook_exchange *x, const char *name, int64_t otherwise, int64_t *out);
/* The body as one JSON object; -EBADMSG, -EFBIG. Messages have nothing of it: it may hold credentials. */
int hook_body_json(struct hook_exchange *x, json_t **out, struct zp_error *err);

/* The routes' functions. */
enum MHD_Result hook_receive(struct hook_exchange *x);          /* receive.c */
enum MHD_Result hook_api_create_build(struct hook_exchange *x); /* api-builds.c */
enum MHD_Result hook_api_list_builds(struct hook_exchange *x);
enum MHD_Result hook_api_get_build(struct hook_exchange *x);
enum MHD_Result hook_api_cancel_build(struct hook_exchange *x);
enum MHD_Result hook_api_retry_build(struct hook_exchange *x);
enum MHD_Result hook_api_get_decision(struct hook_exchange *x);   /* api-decisions.c */
enum MHD_Result hook_api_list_snapshots(struct hook_exchange *x); /* api-views.c */
enum MHD_Result hook_api_list_repositories(struct hook_exchange *x);
enum MHD_Result hook_api_list_pending(struct hook_exchange *x);
enum MHD_Result hook_api_status(struct hook_exchange *x);
enum MHD_Result hook_api_list_retention(struct hook_exchange *x);
enum MHD_Result hook_api_hurry_upkeep(struct hook_exchange *x);
enum MHD_Result hook_api_add_profile(struct hook_exchange *x); /* api-profiles.c */
enum MHD_Result hook_api_get_profile(struct hook_exchange *x);
enum MHD_Result hook_page_get_index(struct hook_exchange *x); /* api-page.c */
enum MHD_Result hook_page_get_style(struct hook_exchange *x);
enum MHD_Result hook_page_get_script(struct hook_exchange *x);
enum MHD_Result hook_page_get_openapi(struct hook_exchange *x);
enum MHD_Result hook_metrics(struct hook_exchange *x); /* metrics.c */
enum MHD_Result hook_health(struct hook_exchange *x);
enum MHD_Result hook_ready(struct hook_exchange *x);
enum MHD_Result hook_watch(struct hook_exchange *x); /* watch.c */

#endif
