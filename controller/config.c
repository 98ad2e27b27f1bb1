/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/config.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/glob.h"
#include "base/yaml.h"
#include "controller/model/time.h"
#include "oci/manifest.h"

#define FILE_MAX (1u << 20)
#define REGISTRIES_MAX 256

enum kind { TEXT, DURATION, NUMBER, SECTION };

/* One setting: `out` is the place of a const char *, or of an int64_t; of a section it is what `read` gets. */
struct setting {
        const char *name;
        enum kind kind;
        void *out;
        int (*read)(const struct zp_yaml *y, const yaml_node_t *node, void *out);
        int64_t min, max;
};

static int keep_text(const struct zp_yaml *y, const yaml_node_t *node, const char *name, const char **out) {
        struct ctl_config *config = y->context;
        const char *text;
        int r = zp_yaml_text(y, node, name, &text);
        if (r < 0)
                return r;
        *out = zp_arena_copy(&config->arena, text, strlen(text));
        return *out ? 0 : zp_yaml_no_memory(y);
}

static int read_number(const struct zp_yaml *y, const yaml_node_t *node, const struct setting *s) {
        const char *text;
        char *end = "";
        int64_t number = 0;
        int r = zp_yaml_text(y, node, s->name, &text);
        if (r < 0)
                return r;
        bool ok = true;
        if (s->kind == DURATION)
                ok = ctl_parse_duration(text, &number);
        else
                number = strtoll(text, &end, 10);
        if (!ok || *end || number < s->min || number > s->max)
                return zp_yaml_fail(y, node, "%s: '%.40s' is not a %s from %lld to %lld%s", s->name, text,
                                    s->kind == DURATION ? "duration like 5m" : "number", (long long) s->min,
                                    (long long) s->max, s->kind == DURATION ? " seconds" : "");
        *(int64_t *) s->out = number;
        return 0;
}

/* A mapping of such settings. */
static int read_settings(const struct zp_yaml *y, const yaml_node_t *node, const char *what,
                         const struct setting *settings, size_t count) {
        const char *names[16];
        yaml_node_t *values[16];
        for (size_t i = 0; i < count; i++)
                names[i] = settings[i].name;
        int r = zp_yaml_members(y, node, what, names, count, values);
        for (size_t i = 0; i < count && r == 0; i++) {
                const struct setting *s = &settings[i];
                if (!values[i])
                        continue;
                if (s->kind == TEXT)
                        r = keep_text(y, values[i], s->name, s->out);
                else if (s->kind == SECTION)
                        r = s->read(y, values[i], s->out);
                else
                        r = read_number(y, values[i], s);
        }
        return r;
}
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- sections ---- */

static int read_hook(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        const struct setting settings[] = {
                { "url", TEXT, &c->hook.url },
                { "token-file", TEXT, &c->hook.token_file },
                { "ca-file", TEXT, &c->hook.ca_file },
        };
        int r = read_settings(y, node, "hook", settings, COUNT(settings));
        if (r == 0 && !c->hook.url)
                r = zp_yaml_fail(y, node, "hook: url is missing");
        if (r == 0 && strncmp(c->hook.url, "http://", 7) != 0 && strncmp(c->hook.url, "https://", 8) != 0)
                r = zp_yaml_fail(y, node, "hook: url: '%.100s' is neither http:// nor https://", c->hook.url);
        return r;
}

static int read_node_selector(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        int r = zp_yaml_mapping(y, node, "node-selector", COUNT(c->job.node_selector), &c->job.node_selector_count);
        for (size_t i = 0; i < c->job.node_selector_count && r == 0; i++) {
                yaml_node_t *key, *value;
                zp_yaml_pair(y, node, i, &key, &value);
                r = keep_text(y, key, "node-selector", &c->job.node_selector[i].name);
                if (r == 0)
                        r = keep_text(y, value, "node-selector", &c->job.node_selector[i].value);
        }
        return r;
}

static int read_job(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        const struct setting settings[] = {
                { "image", TEXT, &c->job.image },
                { "concurrency", NUMBER, &c->job.concurrency, NULL, 1, 10000 },
                { "namespace-concurrency", NUMBER, &c->job.namespace_concurrency, NULL, 1, 10000 },
                { "deadline", DURATION, &c->job.deadline_s, NULL, 60, 604800 },
                { "keep", DURATION, &c->job.keep_s, NULL, 60, 604800 },
                { "cpu", TEXT, &c->job.cpu },
                { "memory", TEXT, &c->job.memory },
                { "store-size", TEXT, &c->job.store_size },
                { "ca-config-map", TEXT, &c->job.ca_config_map },
                { "node-selector", SECTION, c, read_node_selector },
        };
        int r = read_settings(y, node, "job", settings, COUNT(settings));
        if (r == 0 && !c->job.image)
                r = zp_yaml_fail(y, node, "job: image is missing");
        return r;
}

static int read_lease(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        const struct setting settings[] = {
                { "namespace", TEXT, &c->lease_namespace },
                { "name", TEXT, &c->lease_name },
        };
        return read_settings(y, node, "lease", settings, COUNT(settings));
}

/* Whether it says nothing of the registry's host: that is nothing but wildcards, or "**", which goes past the slash, is
 * in it; a port is no part of it. */
static bool is_any_host(const char *pattern, size_t size) {
        size_t host = 0;
        for (size_t i = 0; i + 1 < size; i++)
                if (pattern[i] == '*' && pattern[i + 1] == '*')
                        return true;
        while (host < size && pattern[host] != ':')
                host++;
        return strspn(pattern, "*?.") >= host;
}

/* "registry/repository", of which at least the registry is said: a node's store is one for all namespaces. */
static int read_targets(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        int r = zp_yaml_list(y, node, "targets", CTL_TARGETS_MAX, &c->target_count);
        for (size_t i = 0; i < c->target_count && r == 0; i++) {
                const yaml_node_t *entry = zp_yaml_entry(y, node, i);
                r = keep_text(y, entry, "targets", &c->targets[i]);
                if (r < 0)
                        break;
                const char *slash = strchr(c->targets[i], '/');
                bool is_said = slash && slash[1] && !is_any_host(c->targets[i], (size_t) (slash - c->targets[i]));
                if (!is_said)
                        r = zp_yaml_fail(y, entry, "targets: '%.100s' does not say registry and repository",
                                         c->targets[i]);
        }
        return r;
}

static int read_agents(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        const struct setting settings[] = {
                { "namespace", TEXT, &c->agent_namespace },
                { "service-account", TEXT, &c->agent_account },
                { "targets", SECTION, c, read_targets },
        };
        return read_settings(y, node, "agents", settings, COUNT(settings));
}

static int read_registry(const struct zp_yaml *y, const yaml_node_t *node, struct ctl_registry_entry *entry) {
        const char *plain = NULL;
        const struct setting settings[] = {
                { "host", TEXT, &entry->host },
                { "ca-file", TEXT, &entry->ca_file },
                { "plain-http", TEXT, &plain },
        };
        int r = read_settings(y, node, "registries", settings, COUNT(settings));
        if (r == 0 && !entry->host)
                r = zp_yaml_fail(y, node, "registries: host is missing");
        if (r == 0 && plain && strcmp(plain, "true") != 0 && strcmp(plain, "false") != 0)
                r = zp_yaml_fail(y, node, "plain-http: '%.40s' is neither true nor false", plain);
        entry->plain_http = plain && strcmp(plain, "true") == 0;
        return r;
}

static int read_registries(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        int r = zp_yaml_list(y, node, "registries", REGISTRIES_MAX, &c->registry_count);
        if (r < 0)
                return r;
        struct ctl_registry_entry *entries = zp_arena_alloc(&c->arena, c->registry_count * sizeof *entries);
        if (!entries)
                return zp_yaml_no_memory(y);
        c->registries = entries;
        for (size_t i = 0; i < c->registry_count && r == 0; i++)
                r = read_registry(y, zp_yaml_entry(y, node, i), &entries[i]);
        return r;
}

static int read_platforms(const struct zp_yaml *y, const yaml_node_t *node, void *out) {
        struct ctl_config *c = out;
        int r = zp_yaml_list(y, node, "platforms", CTL_PLATFORMS_MAX, &c->platform_count);
        for (size_t i = 0; i < c->platform_count && r == 0; i++) {
                struct zp_platform platform;
                r = keep_text(y, zp_yaml_entry(y, node, i), "platforms", &c->platforms[i]);
                if (r == 0 && zp_platform_parse(c->platforms[i], &platform, NULL) < 0)
                        r = zp_yaml_fail(y, zp_yaml_entry(y, node, i), "platforms: '%.100s' is none", c->platforms[i]);
        }
        return r;
}

/* ---- the whole ---- */

static int read_root(struct zp_yaml *y, const yaml_node_t *root) {
        struct ctl_config *c = y->context;
        const char *executor = NULL;
        int64_t version;
        const struct setting settings[] = {
                { "version", NUMBER, &version, NULL, 1, 1 },
                { "executor", TEXT, &executor },
                { "platforms", SECTION, c, read_platforms },
                { "workers", NUMBER, &c->workers, NULL, 1, 256 },
                { "cleanup-timeout", DURATION, &c->cleanup_s, NULL, 1, 86400 },
                { "lease", SECTION, c, read_lease },
                { "hook", SECTION, c, read_hook },
                { "job", SECTION, c, read_job },
                { "registries", SECTION, c, read_registries },
                { "agents", SECTION, c, read_agents },
        };
        int r = read_settings(y, root, "configuration", settings, COUNT(settings));
        if (r < 0)
                return r;
        c->executor = c->job.image || !c->hook.url ? CTL_EXECUTOR_JOB : CTL_EXECUTOR_HOOK;
        if (executor && strcmp(executor, "Hook") == 0)
                c->executor = CTL_EXECUTOR_HOOK;
        else if (executor && strcmp(executor, "Job") == 0)
                c->executor = CTL_EXECUTOR_JOB;
        else if (executor)
                return zp_yaml_fail(y, root, "executor: '%.40s' is neither Hook nor Job", executor);
        if (executor && !(c->executor == CTL_EXECUTOR_HOOK ? c->hook.url : c->job.image))
                return zp_yaml_fail(y, root, "executor %s: section '%s' is missing", executor,
                                    c->executor == CTL_EXECUTOR_HOOK ? "hook" : "job");
        return 0;
}

static int set_defaults(struct ctl_config *c, struct zp_error *err) {
        char text[100];
        struct zp_platform host = zp_platform_host();
        host.variant[0] = '\0'; /* nobody pushes images for amd64/v3 */
        zp_platform_text(&host, text);
        c->platforms[0] = zp_arena_copy(&c->arena, text, strlen(text));
        c->platform_count = 1;
        c->executor = CTL_EXECUTOR_JOB;
        c->workers = 8;
        c->cleanup_s = 120;
        c->lease_name = "zeropull-controller";
        c->agent_account = "zeropull-node";
        c->job.concurrency = 10;
        c->job.deadline_s = 3600;
        c->job.keep_s = 3600;
        return c->platforms[0] ? 0 : zp_error_errno(err, ENOMEM, "configuration");
}

int ctl_config_parse(const char *text, size_t size, const char *path, struct ctl_config **out, struct zp_error *err) {
        zp_auto(ctl_config_free) struct ctl_config *config = calloc(1, sizeof *config);
        if (!config)
                return zp_error_errno(err, ENOMEM, "configuration");
        struct zp_yaml yaml = { .path = path, .what = "configuration", .context = config, .err = err };
        int r = set_defaults(config, err);
        if (r == 0 && text)
                r = zp_yaml_read(text, size, &yaml, read_root);
        if (r < 0)
                return r;
        if (config->job.namespace_concurrency == 0) /* whoever else comes, there is room */
                config->job.namespace_concurrency = (config->job.concurrency + 1) / 2;
        *out = zp_steal(&config);
        return 0;
}

int ctl_config_load(const char *path, struct ctl_config **out, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = path ? zp_read_file(AT_FDCWD, path, FILE_MAX, &text, &size, err) : 0;
        return r < 0 ? r : ctl_config_parse(text, size, path, out, err);
}

void ctl_config_free(struct ctl_config *config) {
        if (!config)
                return;
        zp_arena_clear(&config->arena);
        free(config);
}

const struct ctl_registry_entry *ctl_config_registry(const struct ctl_config *config, const char *host) {
        for (size_t i = 0; i < config->registry_count; i++)
                if (zp_glob(config->registries[i].host, host))
                        return &config->registries[i];
        return NULL;
}
