/* SPDX-License-Identifier: Apache-2.0
 *
 * `endpoints:`, `registries:` and `tokens:` of a configuration.
 */
#include <fcntl.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/glob.h"
#include "oci/json.h"
#include "oci/reference.h"
#include "registry-hook/config-internal.h"
#include "registry-hook/event.h"

#define SECRET_MAX 4096
#define KEYS_MAX 65536
/* Short ones can be guessed. */
#define TOKEN_MIN 16

/* The file's content; the error has the line that names it. */
static int read_named_file(struct hook_yaml *y, const yaml_node_t *node, const char *what, size_t limit,
                           const char **out, size_t *size) {
        const char *path;
        zp_autofree char *content = NULL;
        int r = hook_yaml_path(y, node, what, &path);
        if (r == 0 && zp_read_file(AT_FDCWD, path, limit, &content, size, y->yaml.err) < 0) {
                zp_error_wrap(y->yaml.err, "%s:%zu: %s", y->yaml.path, zp_yaml_line(node), what);
                y->yaml.err->code = EINVAL; /* a file that is not there makes a bad configuration, not an absent one */
                r = -EINVAL;
        }
        if (r < 0)
                return r;
        *out = zp_arena_copy(y->arena, content, *size);
        explicit_bzero(content, *size);
        return *out ? 0 : zp_yaml_no_memory(&y->yaml);
}

int hook_config_read_secret(struct hook_yaml *y, const yaml_node_t *node, const char *what, const char **out) {
        size_t size;
        const char *content;
        int r = read_named_file(y, node, what, SECRET_MAX, &content, &size);
        if (r < 0)
                return r;
        size_t length = strcspn(content, "\r\n");
        if (length == 0 || (content[length] == '\0' && length != size))
                return zp_yaml_fail(&y->yaml, node, "%s: the file's first line is empty, or has a NUL", what);
        *out = zp_arena_copy(y->arena, content, length);
        return *out ? 0 : zp_yaml_no_memory(&y->yaml);
}

/* ---- hosts ---- */

/* Events name hosts as references do, in lower case: what no reference can name was meant otherwise. */
static int check_host_name(struct hook_yaml *y, const yaml_node_t *node, const char *host) {
        const struct hook_event_text text = { .host = host, .repository = "a", .tag = "a" };
        struct hook_events events = { 0 };
        int r = strpbrk(host, "/*?") ? -EBADMSG : hook_events_add(&events, &text, NULL);
        hook_events_clear(&events);
        if (r == -ENOMEM)
                return zp_yaml_no_memory(&y->yaml);
        if (r == -EHOSTUNREACH)
                return zp_yaml_fail(
                        &y->yaml, node,
                        "host: '%.100s' is no registry's host in a reference: that has a dot or a port, and "
                        "Docker Hub's is docker.io",
                        host);
        return r < 0 ? zp_yaml_fail(&y->yaml, node, "host: '%.100s' is not a host, as 'r.example:5000' is", host) : 0;
}

static int check_host_pattern(struct hook_yaml *y, const yaml_node_t *node, const char *pattern) {
        for (const char *p = pattern; *p; p++)
                if (*p >= 'A' && *p <= 'Z')
                        return zp_yaml_fail(&y->yaml, node, "host: '%.100s' is not in lower case, as hosts are here",
                                            pattern);
        if (!strpbrk(pattern, "*?"))
                return check_host_name(y, node, pattern);
        return strspn(pattern, "abcdefghijklmnopqrstuvwxyz0123456789-.:[]*?") == strlen(pattern)
                       ? 0
                       : zp_yaml_fail(&y->yaml, node, "host: '%.100s' is not a pattern of hosts", pattern);
}

/* ---- endpoints ---- */

static bool is_path_component(const char *name) {
        return strlen(name) <= 64 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == strlen(name);
}

static int read_secrets(struct hook_yaml *y, const yaml_node_t *node, struct hook_endpoint *endpoint) {
        int r = hook_yaml_count(y, node, "secret-file", HOOK_SECRETS_MAX, &endpoint->secret_count);
        for (size_t i = 0; i < endpoint->secret_count && r == 0; i++)
                r = hook_config_read_secret(y, hook_yaml_item(y, node, i), "secret-file", &endpoint->secrets[i]);
        return r;
}

static int check_endpoint(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                          const struct hook_endpoint *endpoint, bool is_open) {
        if (!is_path_component(endpoint->name))
                return zp_yaml_fail(&y->yaml, node, "name: '%.64s' has other characters than a-z, 0-9, '-' and '_'",
                                    endpoint->name);
        for (const struct hook_endpoint *other = config->endpoints; other < endpoint; other++)
                if (strcmp(other->name, endpoint->name) == 0)
                        return zp_yaml_fail(&y->yaml, node, "name: '%s' a second time", endpoint->name);
        if (endpoint->provider->wants_host && !endpoint->host)
                return zp_yaml_fail(&y->yaml, node,
                                    "endpoint '%s': 'host' is missing: the notifications do not name it",
                                    endpoint->name);
        if (endpoint->keys && (!endpoint->provider->takes_keys || endpoint->secret_count > 0 || !endpoint->sender))
                return zp_yaml_fail(&y->yaml, node, "endpoint '%s': %s", endpoint->name,
                                    !endpoint->provider->takes_keys ? "'keys-file' is not for this provider"
                                    : endpoint->sender              ? "either 'secret-file' or 'keys-file'"
                                                                    : "'keys-file' wants 'sender' beside it");
        bool is_guarded = endpoint->secret_count > 0 || endpoint->keys;
        if (is_guarded == is_open)
                return zp_yaml_fail(&y->yaml, node, "endpoint '%s': %s", endpoint->name,
                                    is_open ? "'open' and a secret contradict each other"
                                            : "wants 'secret-file', or 'open: true' to believe anybody");
        return 0;
}

static bool are_keys(const char *text, size_t size) {
        zp_auto(json_decref) json_t *root = NULL;
        return zp_json_load(text, size, "keys", &root, NULL) == 0 && json_array_size(json_object_get(root, "keys")) > 0;
}

static int unknown_provider(struct hook_yaml *y, const yaml_node_t *node, const char *name) {
        char known[256] = "";
        for (const struct hook_provider *provider = hook_providers; provider->name; provider++)
                snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", known[0] ? ", " : "",
                         provider->name);
        return zp_yaml_fail(&y->yaml, node, "provider: '%.64s' is none of: %s", name, known);
}

static int read_endpoint(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                         struct hook_endpoint *e) {
        enum { NAME, PROVIDER, SECRET_FILE, OPEN, HOST, KEYS_FILE, AUDIENCE, SENDER, COUNT };
        static const char *const names[] = { "name", "provider",  "secret-file", "open",
                                             "host", "keys-file", "audience",    "sender" };
        yaml_node_t *v[COUNT];
        const char *provider = NULL;
        bool is_open = false;
        int r = zp_yaml_members(&y->yaml, node, "endpoint", names, COUNT, v);
        if (r == 0 && !v[PROVIDER])
                r = zp_yaml_fail(&y->yaml, node, "endpoint: 'provider' is missing");
        if (r == 0)
                r = hook_yaml_text(y, v[PROVIDER], "provider", &provider);
        if (r == 0 && !(e->provider = hook_provider_find(provider)))
                r = unknown_provider(y, v[PROVIDER], provider);
        e->name = provider;
        if (r == 0 && v[NAME])
                r = hook_yaml_text(y, v[NAME], "name", &e->name);
        if (r == 0 && v[SECRET_FILE])
                r = read_secrets(y, v[SECRET_FILE], e);
        if (r == 0 && v[OPEN])
                r = hook_yaml_bool(y, v[OPEN], "open", &is_open);
        if (r == 0 && v[HOST])
                r = hook_yaml_text(y, v[HOST], "host", &e->host);
        if (r == 0 && v[HOST])
                r = check_host_name(y, v[HOST], e->host);
        if (r == 0 && v[KEYS_FILE])
                r = read_named_file(y, v[KEYS_FILE], "keys-file", KEYS_MAX, &e->keys, &e->keys_size);
        if (r == 0 && e->keys && !are_keys(e->keys, e->keys_size))
                r = zp_yaml_fail(&y->yaml, v[KEYS_FILE], "keys-file: not a JSON Web Key Set, or one without keys");
        if (r == 0 && v[AUDIENCE])
                r = hook_yaml_text(y, v[AUDIENCE], "audience", &e->audience);
        if (r == 0 && v[SENDER])
                r = hook_yaml_text(y, v[SENDER], "sender", &e->sender);
        return r < 0 ? r : check_endpoint(y, node, config, e, is_open);
}

int hook_config_read_endpoints(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config) {
        size_t count;
        int r = hook_yaml_count(y, node, "endpoints", HOOK_ENTRIES_MAX, &count);
        struct hook_endpoint *endpoints = r < 0 ? NULL : zp_arena_alloc(y->arena, count * sizeof *endpoints);
        if (r == 0 && !endpoints)
                return zp_yaml_no_memory(&y->yaml);
        config->endpoints = endpoints;
        for (size_t i = 0; i < count && r == 0; i++, config->endpoint_count++)
                r = read_endpoint(y, hook_yaml_item(y, node, i), config, &endpoints[i]);
        return r;
}

/* ---- registries ---- */

/* A pattern finds nothing here, and the host is the entry's own. */
static int check_repositories(struct hook_yaml *y, const yaml_node_t *node, const struct hook_registry *registry) {
        for (size_t i = 0; i < registry->repository_count; i++) {
                const char *name = registry->repositories[i];
                zp_autofree char *text = zp_format("host.example/%s", name);
                struct zp_reference reference;
                if (!text)
                        return zp_yaml_no_memory(&y->yaml);
                if (strpbrk(name, ":@") || zp_reference_parse(text, &reference, NULL) < 0)
                        return zp_yaml_fail(&y->yaml, hook_yaml_item(y, node, i),
                                            "repositories: '%.100s' is not a repository, as 'acme/web' is", name);
                zp_reference_clear(&reference);
        }
        return 0;
}

static int read_reconcile(struct hook_yaml *y, const yaml_node_t *node, struct hook_registry *registry) {
        enum { EVERY, CATALOG, REPOSITORIES, COUNT };
        static const char *const names[] = { "every", "catalog", "repositories" };
        yaml_node_t *v[COUNT];
        int r = zp_yaml_members(&y->yaml, node, "reconcile", names, COUNT, v);
        registry->reconcile_ms = 3600 * 1000;
        if (r == 0 && v[EVERY])
                r = hook_yaml_duration(y, v[EVERY], "every", &registry->reconcile_ms);
        if (r == 0 && v[CATALOG])
                r = hook_yaml_bool(y, v[CATALOG], "catalog", &registry->has_catalog);
        if (r == 0 && v[REPOSITORIES])
                r = hook_yaml_texts(y, v[REPOSITORIES], "repositories", 4096, &registry->repositories,
                                    &registry->repository_count);
        if (r == 0 && v[REPOSITORIES])
                r = check_repositories(y, v[REPOSITORIES], registry);
        if (r == 0 && registry->reconcile_ms < 1000)
                r = zp_yaml_fail(&y->yaml, node, "reconcile: more often than once a second");
        if (r == 0 && !registry->has_catalog && !v[REPOSITORIES])
                r = zp_yaml_fail(&y->yaml, node, "reconcile: wants 'catalog: true' or 'repositories'");
        return r;
}

/* The first entry that names a host is its own: one behind it would never be used. */
static int check_host(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                      const struct hook_registry *registry) {
        int r = check_host_pattern(y, node, registry->host);
        if (r < 0)
                return r;
        for (const struct hook_registry *other = config->registries; other < registry; other++) {
                if (strcmp(other->host, registry->host) == 0)
                        return zp_yaml_fail(&y->yaml, node, "host: '%.100s' a second time", registry->host);
                if (!strpbrk(registry->host, "*?") && zp_glob(other->host, registry->host))
                        return zp_yaml_fail(&y->yaml, node,
                                            "host: '%.100s' is never used: '%.100s' on line %zu names it first",
                                            registry->host, other->host, other->line);
        }
        return 0;
}

static int read_registry(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                         struct hook_registry *out) {
        enum { HOST, AUTH_FILE, CA_FILE, PLAIN_HTTP, CONCURRENCY, RECONCILE, COUNT };
        static const char *const names[] = { "host", "auth-file", "ca-file", "plain-http", "concurrency", "reconcile" };
        yaml_node_t *v[COUNT];
        int64_t concurrency = 1000;
        int r = zp_yaml_members(&y->yaml, node, "registry", names, COUNT, v);
        if (r == 0 && !v[HOST])
                r = zp_yaml_fail(&y->yaml, node, "registry: 'host' is missing");
        if (r == 0)
                r = hook_yaml_text(y, v[HOST], "host", &out->host);
        out->line = zp_yaml_line(node);
        if (r == 0)
                r = check_host(y, v[HOST], config, out);
        if (r == 0 && v[AUTH_FILE])
                r = hook_yaml_path(y, v[AUTH_FILE], "auth-file", &out->auth_file);
        out->auth_file_line = v[AUTH_FILE] ? zp_yaml_line(v[AUTH_FILE]) : 0;
        if (r == 0 && v[CA_FILE])
                r = hook_yaml_path(y, v[CA_FILE], "ca-file", &out->ca_file);
        out->ca_file_line = v[CA_FILE] ? zp_yaml_line(v[CA_FILE]) : 0;
        if (r == 0 && v[PLAIN_HTTP])
                r = hook_yaml_bool(y, v[PLAIN_HTTP], "plain-http", &out->plain_http);
        if (r == 0 && v[CONCURRENCY])
                r = hook_yaml_number(y, v[CONCURRENCY], "concurrency", 1, 1000, &concurrency);
        out->concurrency = (int) concurrency;
        if (r == 0 && v[RECONCILE] && strpbrk(out->host, "*?"))
                r = zp_yaml_fail(&y->yaml, v[RECONCILE], "reconcile: wants a host, not a pattern");
        return r < 0 || !v[RECONCILE] ? r : read_reconcile(y, v[RECONCILE], out);
}

int hook_config_read_registries(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config) {
        int r = hook_yaml_count(y, node, "registries", HOOK_ENTRIES_MAX, &config->registry_count);
        struct hook_registry *registries =
                r < 0 ? NULL : zp_arena_alloc(y->arena, config->registry_count * sizeof *registries);
        if (r == 0 && !registries)
                return zp_yaml_no_memory(&y->yaml);
        config->registries = registries;
        for (size_t i = 0; i < config->registry_count && r == 0; i++)
                r = read_registry(y, hook_yaml_item(y, node, i), config, &registries[i]);
        return r;
}

/* ---- tokens ---- */

/* Names stand for who asked for a build. */
static int check_token(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                       const struct hook_token *token) {
        if (strcmp(token->name, "anonymous") == 0 || strcmp(token->name, "reconcile") == 0)
                return zp_yaml_fail(&y->yaml, node, "token: the name '%s' is taken: it means something else",
                                    token->name);
        for (const struct hook_token *other = config->tokens; other < token; other++)
                if (zp_digest_equal(&other->digest, &token->digest))
                        return zp_yaml_fail(&y->yaml, node, "token '%s': the same as that of '%s'", token->name,
                                            other->name);
        return 0;
}

static int read_token(struct hook_yaml *y, const yaml_node_t *node, const struct hook_config *config,
                      struct hook_token *out) {
        enum { NAME, ROLE, FILE_NAME, SHA256, COUNT };
        static const char *const names[] = { "name", "role", "file", "sha256" };
        static const char *const roles[] = { "reader", "builder", "admin", NULL };
        yaml_node_t *v[COUNT];
        const char *text = NULL;
        int role = 0;
        int r = zp_yaml_members(&y->yaml, node, "token", names, COUNT, v);
        if (r == 0 && (!v[NAME] || !v[ROLE] || !v[FILE_NAME] == !v[SHA256]))
                r = zp_yaml_fail(&y->yaml, node, "token: wants 'name', 'role' and either 'file' or 'sha256'");
        if (r == 0)
                r = hook_yaml_text(y, v[NAME], "name", &out->name);
        if (r == 0)
                r = hook_yaml_word(y, v[ROLE], "role", roles, &role);
        out->role = HOOK_READER + (enum hook_role) role;
        if (r == 0 && v[SHA256]) {
                r = hook_yaml_text(y, v[SHA256], "sha256", &text);
                if (r == 0 && !zp_digest_parse_hex(text, &out->digest))
                        r = zp_yaml_fail(&y->yaml, v[SHA256], "sha256: not 64 lower-case hex digits");
        } else if (r == 0) {
                r = hook_config_read_secret(y, v[FILE_NAME], "file", &text);
                if (r == 0 && strlen(text) < TOKEN_MIN)
                        r = zp_yaml_fail(&y->yaml, v[FILE_NAME], "file: a token shorter than %d characters", TOKEN_MIN);
                if (r == 0)
                        zp_digest_of(text, strlen(text), &out->digest);
        }
        return r < 0 ? r : check_token(y, node, config, out);
}

int hook_config_read_tokens(struct hook_yaml *y, const yaml_node_t *node, struct hook_config *config) {
        int r = hook_yaml_count(y, node, "tokens", HOOK_ENTRIES_MAX, &config->token_count);
        struct hook_token *tokens = r < 0 ? NULL : zp_arena_alloc(y->arena, config->token_count * sizeof *tokens);
        if (r == 0 && !tokens)
                return zp_yaml_no_memory(&y->yaml);
        config->tokens = tokens;
        for (size_t i = 0; i < config->token_count && r == 0; i++)
                r = read_token(y, hook_yaml_item(y, node, i), config, &tokens[i]);
        return r;
}
