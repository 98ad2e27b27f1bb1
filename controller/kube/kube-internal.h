/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of this room share: the configuration's parts, credentials as they are now, one attempt at a request.
 */
#ifndef KUBE_INTERNAL_H
#define KUBE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/arena.h"
#include "controller/kube/client.h"
#include "oci/http.h"

#define KUBE_OBJECT_MAX (3u << 20) /* etcd takes 1.5 MiB by default; more is left out or refused */
#define KUBE_ANSWER_MAX (4u << 20) /* an object, and what the server wraps around it */
#define KUBE_PAGE_MAX (UINT64_C(64) << 20)
#define KUBE_FILE_MAX (4u << 20) /* kubeconfigs hold certificates */
#define KUBE_TOKEN_MAX (64u << 10)

/* ---- config ---- */

/* A PEM that is in the configuration, or the file it is in; neither: none. */
struct zp_kube_pem {
        const char *text, *file;
};

struct zp_kube_exec {
        const char *api_version, *command; /* NULL command: no plugin */
        char **arguments;                  /* the command first, a NULL last */
        char **environment;                /* "NAME=VALUE" beside the process's, a NULL last */
        bool wants_cluster;
};

struct zp_kube_cluster {
        const char *name, *server, *tls_server_name, *proxy;
        struct zp_kube_pem authority;
        bool skip_tls_verify;
};

struct zp_kube_user {
        const char *name;
        struct zp_kube_pem certificate, key;
        const char *token, *token_file, *username, *password;
        struct zp_kube_exec exec;
};

struct zp_kube_config {
        struct zp_arena arena; /* all strings are in it */
        struct zp_kube_cluster cluster;
        struct zp_kube_user user;
        const char *namespace;
};

/* Reads one kubeconfig of several into `files`; zp_kube_files_choose takes the context from all. */
struct zp_kube_files;
struct zp_kube_files *zp_kube_files_new(struct zp_arena *arena);
int zp_kube_files_parse(struct zp_kube_files *files, const char *text, size_t size, const char *path,
                        struct zp_error *err);
int zp_kube_files_choose(struct zp_kube_files *files, const char *context, struct zp_kube_config *config,
                         struct zp_error *err);

/* What a pod finds: `directory` has token, ca.crt and namespace; host and port are from the environment. */
int zp_kube_config_in_cluster(const char *directory, const char *host, const char *port, struct zp_kube_config **out,
                              struct zp_error *err);

/* The server may be asked with these credentials: by TLS, or on this machine. */
int zp_kube_config_check(const struct zp_kube_config *config, struct zp_error *err);


/* ---- credentials ---- */

/* What the files and programs of the configuration said at one time; NULL: nothing. malloc'ed. */
struct zp_kube_material {
        char *authorization;                 /* the header's value */
        char *authority, *certificate, *key; /* PEM */
        int64_t expires_s;                   /* by the system's clock, as the exec plugin says; 0: never */
};

/* Reads them. `previous` (NULL: none) gives what the exec plugin printed, unless that has expired. */
int zp_kube_material_read(const struct zp_kube_config *config, const struct zp_kube_material *previous,
                          const struct zp_cancel *cancel, struct zp_kube_material *out, struct zp_error *err);
bool zp_kube_material_equal(const struct zp_kube_material *a, const struct zp_kube_material *b);
void zp_kube_material_clear(struct zp_kube_material *material);

/* "Bearer TOKEN" of a token with white space around it; -EINVAL, without saying what was in it. */
int zp_kube_bearer(const char *token, const char *from, char **out, struct zp_error *err);
/* Runs the user's exec plugin: authorization, certificate and key, expires_s of `out`. */
int zp_kube_exec_run(const struct zp_kube_config *config, const char *authority, const struct zp_cancel *cancel,
                     struct zp_kube_material *out, struct zp_error *err);
/* What it printed. */
int zp_kube_exec_parse(const struct zp_kube_exec *exec, const char *text, size_t size, struct zp_kube_material *out,
                       struct zp_error *err);

/* Connections with one set of credentials. Immutable, counted. */
struct zp_kube_session {
        unsigned references; /* guarded by kube->lock */
        uint64_t number;     /* counts the readings that changed something */
        struct zp_kube_material material;
        struct zp_http *http;
        char *base;              /* "https://HOST:PORT/PATH", without a '/' at the end */
        char *host, *connect_to; /* HOST:PORT as in `base`; NULL, or where that really is */
        char *host_header;       /* "Host: …" when `base` has the TLS server's name */
};

/* Takes the material over (also when it fails). */
int zp_kube_session_new(const struct zp_kube_options *options, struct zp_kube_material *material,
                        struct zp_kube_session **out, struct zp_error *err);
void zp_kube_session_free(struct zp_kube_session *session);

struct zp_kube {
        struct zp_kube_options options;
        pthread_mutex_t lock;            /* guards the next two */
        struct zp_kube_session *session; /* the current one */
        uint64_t checked_ms;             /* when its material was compared with its sources */
        pthread_mutex_t reload_lock;     /* held by the one thread that reads them */
        atomic_ullong requests, retries, throttled, failures, reloads;
};

/* The current session, its material not older than a minute; give it back. Never NULL. */
struct zp_kube_session *zp_kube_session_take(struct zp_kube *kube);
void zp_kube_session_give(struct zp_kube *kube, struct zp_kube_session *session);
/* Reads the credentials anew because the server refused those of `session`. False: they are the same. */
bool zp_kube_session_renew(struct zp_kube *kube, const struct zp_kube_session *session);

/* ---- requests ---- */

/* One exchange: the place's URL, the body, and who takes the answer. */
struct zp_kube_exchange {
        const char *path; /* "/api/v1/pods?limit=5", escaped */
        const char *method, *content_type;
        const char *body; /* JSON; NULL: none */
        size_t body_limit;
        zp_http_sink sink; /* NULL: collect */
        void *context;
        const struct zp_cancel *cancel;
        unsigned timeout_ms; /* 0: none */
        bool is_watch;       /* nothing may come for long */
        bool is_farewell;
        bool needs_leave; /* of the client's may_write */
};

/* Performs it once, and once more with new credentials when the answer is 401. 0: there is an answer of whatever
 * status. `response` is zeroed before and cleared after by the caller. */
int zp_kube_exchange(struct zp_kube *kube, const struct zp_kube_exchange *exchange, struct zp_http_response *response,
                     struct zp_error *err);

/* The same, repeated while that makes sense, within timeout_ms (which is used up). A sink sees the offset 0 again. */
int zp_kube_exchange_again(struct zp_kube *kube, struct zp_kube_exchange *exchange, struct zp_http_response *response,
                           struct zp_error *err);

struct zp_kube_listing {
        struct zp_kube *kube;
        const struct zp_kube_place *place;
        const char *query; /* selectors; NULL */
        zp_kube_each each;
        void (*begun)(void *context); /* all that `each` has seen so far is void; at the first as well; NULL */
        void (*left_out)(void *context, const struct zp_error *reason); /* an object that cannot be read; NULL */
        void *context;
        const struct zp_cancel *cancel;
};
/* As zp_kube_list. */
int zp_kube_list_all(const struct zp_kube_listing *listing, char **resource_version, struct zp_error *err);

/* What an answer that is no success says. */
struct zp_kube_failure {
        char reason[64]; /* "Conflict"; "" */
        bool is_version_too_large;
};
/* Sets err by the status and the Status object in the answer; returns its code. `failure` may be NULL. */
int zp_kube_fail(const struct zp_http_response *response, struct zp_kube_failure *failure, struct zp_error *err);
/* The same of a Status object that came in a watch. */
int zp_kube_fail_status(json_t *status, struct zp_kube_failure *failure, struct zp_error *err);

/* The path of a place with its query; malloc'ed; NULL: out of memory. */
char *zp_kube_path(const struct zp_kube_place *place, const char *query);
/* "pods 'ns/name'", cut to fit, for messages. */
#define KUBE_PLACE_SIZE 320
char *zp_kube_place_text(const struct zp_kube_place *place, char text[KUBE_PLACE_SIZE]);

/* How long to wait after so many failures in a row: 0.8 s and each time twice as long up to 30 s, half of it by chance.
 */
unsigned zp_kube_backoff_ms(unsigned failures);
/* A number from 0 to below `bound`, by chance. */
unsigned zp_kube_random(unsigned bound);

#endif
