/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/glob.h"
#include "oci/listen.h"
#include "oci/url.h"
#include "registry-hook/config-internal.h"

#define CONFIG_SIZE_MAX (1u << 20)
/* Below these hardly any build ends well: a number without its unit, most likely. */
#define MEMORY_MIN (64 << 20)
#define FILE_SIZE_MIN (1 << 20)

/* ---- the document ---- */

static const char *const role_words[] = { "nobody", "reader", "builder", "admin", NULL };

static int read_limits(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *c) {
        enum { BODY, CONNECTIONS, IDLE, MEMORY, TIME, FILE_SIZE, MIN_FREE, COUNT };
        static const char *const names[] = { "body", "connections", "idle", "memory", "time", "file-size", "min-free" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "limits", names, COUNT, v);
        if (r == 0 && v[BODY])
                r = hook_yaml_size(y, v[BODY], "body", &c->body_size);
        if (r == 0 && (c->body_size < 1024 || c->body_size > 64 << 20))
                r = zp_yaml_fail(&y->yaml, v[BODY], "body: not from 1K to 64M");
        if (r == 0 && v[CONNECTIONS])
                r = hook_yaml_number(y, v[CONNECTIONS], "connections", 4, 65536, &c->connections);
        if (r == 0 && v[IDLE])
                r = hook_yaml_duration(y, v[IDLE], "idle", &c->idle_ms);
        if (r == 0 && c->idle_ms < 1000)
                r = zp_yaml_fail(&y->yaml, v[IDLE], "idle: less than a second");
        if (r == 0 && v[MEMORY])
                r = hook_yaml_size(y, v[MEMORY], "memory", &c->memory);
        if (r == 0 && c->memory > 0 && c->memory < MEMORY_MIN)
                r = zp_yaml_fail(&y->yaml, v[MEMORY], "memory: less than %dM", MEMORY_MIN >> 20);
        if (r == 0 && v[TIME])
                r = hook_yaml_duration(y, v[TIME], "time", &c->time_ms);
        if (r == 0 && v[FILE_SIZE])
                r = hook_yaml_size(y, v[FILE_SIZE], "file-size", &c->file_size);
        if (r == 0 && c->file_size > 0 && c->file_size < FILE_SIZE_MIN)
                r = zp_yaml_fail(&y->yaml, v[FILE_SIZE], "file-size: less than %dM", FILE_SIZE_MIN >> 20);
        if (r == 0 && v[MIN_FREE])
                r = hook_yaml_size(y, v[MIN_FREE], "min-free", &c->min_free);
        return r;
}

static int read_tls(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *c) {
        enum { CERTIFICATE, KEY, COUNT };
        static const char *const names[] = { "certificate", "key" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "tls", names, COUNT, v);
        if (r == 0 && (!v[CERTIFICATE] || !v[KEY]))
                r = zp_yaml_fail(&y->yaml, node, "tls: wants 'certificate' and 'key'");
        c->tls_line = zp_yaml_line(node);
        if (r == 0)
                r = hook_yaml_path(y, v[CERTIFICATE], "certificate", &c->tls_certificate);
        return r < 0 ? r : hook_yaml_path(y, v[KEY], "key", &c->tls_key);
}

static int read_history(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *c) {
        enum { AGE, KEEP, COUNT };
        static const char *const names[] = { "age", "keep" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "history", names, COUNT, v);
        if (r == 0 && v[AGE])
                r = hook_yaml_duration(y, v[AGE], "age", &c->history_ms);
        if (r == 0 && c->history_ms < 60 * 1000)
                r = zp_yaml_fail(&y->yaml, v[AGE], "age: less than a minute");
        return r < 0 || !v[KEEP] ? r : hook_yaml_number(y, v[KEEP], "keep", 1, 10000000, &c->history_keep);
}

enum {
        VERSION,
        LISTEN,
        URL,
        TLS,
        STATE,
        BUILDER,
        STORE,
        CONCURRENCY,
        ANONYMOUS,
        LIMITS,
        HISTORY,
        TOKENS,
        ENDPOINTS,
        REGISTRIES,
        RULES,
        COUNT
};
static const char *const names[] = { "version", "listen", "url",         "tls",        "state",
                                     "builder", "store",  "concurrency", "anonymous",  "limits",
                                     "history", "tokens", "endpoints",   "registries", "rules" };

static int read_checked(struct hook_yaml *y, const yaml_node_t *node, const char *what,
                        int (*check)(const char *text, struct zp_error *err), const char **out) {
        struct zp_error reason = { 0 };
        int r = hook_yaml_text(y, node, what, out);
        return r == 0 && check(*out, &reason) < 0 ? zp_yaml_fail(&y->yaml, node, "%s: %s", what, reason.message) : r;
}

static int read_service(struct hook_yaml *y, yaml_node_t *const *v, struct hook_config *c) {
        const struct {
                int at;
                const char **out;
        } paths[] = { { STATE, &c->state }, { BUILDER, &c->builder }, { STORE, &c->store } };
        int r = 0, role = HOOK_NOBODY;
        int64_t concurrency = 2;
        for (size_t i = 0; i < sizeof paths / sizeof *paths && r == 0; i++)
                if (v[paths[i].at])
                        r = hook_yaml_path(y, v[paths[i].at], names[paths[i].at], paths[i].out);
        c->builder_line = v[BUILDER] ? zp_yaml_line(v[BUILDER]) : 0;
        if (r == 0 && v[LISTEN])
                r = read_checked(y, v[LISTEN], "listen", zp_listen_check, &c->listen);
        if (r == 0 && v[URL])
                r = read_checked(y, v[URL], "url", zp_url_check_service, &c->url);
        if (r == 0 && v[TLS])
                r = read_tls(y, v[TLS], c);
        if (r == 0 && v[CONCURRENCY])
                r = hook_yaml_number(y, v[CONCURRENCY], "concurrency", 1, 256, &concurrency);
        c->concurrency = (int) concurrency;
        if (r == 0 && v[ANONYMOUS])
                r = hook_yaml_word(y, v[ANONYMOUS], "anonymous", role_words, &role);
        c->anonymous = (enum hook_role) role;
        if (r == 0 && v[LIMITS])
                r = read_limits(y, v[LIMITS], c);
        if (r == 0 && v[HISTORY])
                r = read_history(y, v[HISTORY], c);
        return r;
}

static int read_document(struct zp_yaml *yaml, const yaml_node_t *root) {
        struct hook_yaml *y = yaml->context;
        struct hook_config *c = y->config;
        yaml_node_t *v[COUNT];
        int64_t version;
        int r = zp_yaml_members(&y->yaml, root, "configuration", names, COUNT, v);
        static const int required[] = { VERSION, REGISTRIES, RULES };
        if (r == 0 && v[VERSION])
                r = hook_yaml_number(y, v[VERSION], "version", 1, 1, &version);
        for (size_t i = 0; i < sizeof required / sizeof *required && r == 0; i++)
                if (!v[required[i]])
                        r = zp_yaml_fail(&y->yaml, root, "configuration: '%s' is missing", names[required[i]]);
        if (r == 0)
                r = read_service(y, v, c);
        if (r == 0 && v[TOKENS])
                r = hook_config_read_tokens(y, v[TOKENS], c);
        if (r == 0)
                r = hook_config_read_registries(y, v[REGISTRIES], c);
        if (r == 0 && v[ENDPOINTS])
                r = hook_config_read_endpoints(y, v[ENDPOINTS], c);
        return r < 0 ? r : hook_config_read_rules(y, v[RULES], c);
}

int hook_config_parse(const char *text, size_t size, const char *path, struct hook_config **out, struct zp_error *err) {
        struct zp_error ignored = { 0 };
        zp_auto(hook_config_drop) struct hook_config *c = calloc(1, sizeof *c);
        if (c)
                c->references = 1;
        if (!c || !(c->arena = calloc(1, sizeof *c->arena)) || !(c->path = zp_arena_copy(c->arena, path, strlen(path))))
                return zp_error_errno(err, ENOMEM, "configuration '%s'", path);
        c->listen = "127.0.0.1:8480";
        c->body_size = 16 << 20;
        c->connections = 256;
        c->idle_ms = 30 * 1000;
        c->memory = INT64_C(4) << 30;
        c->time_ms = 3600 * 1000;
        c->file_size = INT64_C(64) << 30;
        c->min_free = 1 << 30;
        c->history_ms = INT64_C(30) * 24 * 3600 * 1000;
        c->history_keep = 10000;
        struct hook_yaml y = { .yaml = { .path = c->path, .what = "configuration", .err = err ? err : &ignored },
                               .arena = c->arena,
                               .config = c };
        y.yaml.context = &y;
        int r = zp_yaml_read(text, size, &y.yaml, read_document);
        if (r == 0)
                *out = zp_steal(&c);
        return r;
}

int hook_config_load(const char *path, struct hook_config **out, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size;
        int r = zp_read_file(AT_FDCWD, path, CONFIG_SIZE_MAX, &text, &size, err);
        if (r < 0)
                return zp_error_wrap(err, "configuration");
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        r = hook_config_parse(text, size, path, &config, err);
        if (r == 0)
                r = hook_config_check_files(config, err);
        if (r == 0)
                *out = zp_steal(&config);
        return r;
}

struct hook_config *hook_config_hold(struct hook_config *config) {
        __atomic_add_fetch(&config->references, 1, __ATOMIC_RELAXED);
        return config;
}

void hook_config_drop(struct hook_config *config) {
        if (__atomic_sub_fetch(&config->references, 1, __ATOMIC_ACQ_REL) > 0)
                return;
        if (config->arena)
                zp_arena_clear(config->arena);
        free(config->arena);
        free(config);
}

/* ---- questions ---- */

const struct hook_endpoint *hook_config_endpoint(const struct hook_config *config, const char *name) {
        for (size_t i = 0; i < config->endpoint_count; i++)
                if (strcmp(config->endpoints[i].name, name) == 0)
                        return &config->endpoints[i];
        return NULL;
}

const struct hook_registry *hook_config_registry(const struct hook_config *config, const char *host) {
        for (size_t i = 0; i < config->registry_count; i++)
                if (zp_glob(config->registries[i].host, host))
                        return &config->registries[i];
        return NULL;
}

const struct hook_rule *hook_config_rule(const struct hook_config *config, const char *name) {
        for (size_t i = 0; i < config->rule_count; i++)
                if (strcmp(config->rules[i].name, name) == 0)
                        return &config->rules[i];
        return NULL;
}

enum hook_role hook_config_role(const struct hook_config *config, const char *token, const char **name) {
        struct zp_digest digest;
        const char *ignored;
        const struct hook_token *found = NULL;
        if (!name)
                name = &ignored;
        *name = "anonymous";
        if (!token)
                return config->anonymous;
        zp_digest_of(token, strlen(token), &digest);
        for (size_t i = 0; i < config->token_count; i++)
                if (CRYPTO_memcmp(&digest, &config->tokens[i].digest, sizeof digest) == 0)
                        found = &config->tokens[i];
        if (!found)
                return HOOK_NOBODY;
        *name = found->name;
        return found->role;
}

/* ---- the one in force ---- */

struct hook_current {
        pthread_mutex_t lock;
        struct hook_config *config; /* guarded by lock */
};

int hook_current_new(struct hook_config *config, struct hook_current **out, struct zp_error *err) {
        struct hook_current *current = calloc(1, sizeof *current);
        if (!current) {
                hook_config_drop(config);
                return zp_error_errno(err, ENOMEM, "configuration");
        }
        pthread_mutex_init(&current->lock, NULL);
        current->config = config;
        *out = current;
        return 0;
}

struct hook_config *hook_current_hold(struct hook_current *current) {
        pthread_mutex_lock(&current->lock);
        struct hook_config *config = hook_config_hold(current->config);
        pthread_mutex_unlock(&current->lock);
        return config;
}

void hook_current_exchange(struct hook_current *current, struct hook_config *config) {
        pthread_mutex_lock(&current->lock);
        struct hook_config *old = current->config;
        current->config = config;
        pthread_mutex_unlock(&current->lock);
        hook_config_drop(old);
}

void hook_current_free(struct hook_current *current) {
        hook_config_drop(current->config);
        pthread_mutex_destroy(&current->lock);
        free(current);
}
