/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of kubeconfigs. Members that nobody here knows are left alone, as kubectl does: other tools keep theirs in
 * the same file. Those that would change who we are, and are not understood, are errors.
 */
#include <string.h>

#include "controller/kube/kubeconfig-internal.h"

#define ENTRIES_MAX 4096

struct context {
        const char *name, *cluster, *user, *namespace;
};

/* One named entry; the first of a name counts. */
struct kube_entry {
        struct kube_entry *next;
        union {
                const char *name; /* that all three begin with */
                struct zp_kube_cluster cluster;
                struct zp_kube_user user;
                struct context context;
        };
};

static const struct kube_field cluster_fields[] = {
        { "server", KUBE_TEXT, offsetof(struct zp_kube_cluster, server) },
        { "tls-server-name", KUBE_TEXT, offsetof(struct zp_kube_cluster, tls_server_name) },
        { "proxy-url", KUBE_TEXT, offsetof(struct zp_kube_cluster, proxy) },
        { "certificate-authority", KUBE_FILE, offsetof(struct zp_kube_cluster, authority.file) },
        { "certificate-authority-data", KUBE_DATA, offsetof(struct zp_kube_cluster, authority.text) },
        { 0 },
};

static const struct kube_field user_fields[] = {
        { "client-certificate", KUBE_FILE, offsetof(struct zp_kube_user, certificate.file) },
        { "client-certificate-data", KUBE_DATA, offsetof(struct zp_kube_user, certificate.text) },
        { "client-key", KUBE_FILE, offsetof(struct zp_kube_user, key.file) },
        { "client-key-data", KUBE_DATA, offsetof(struct zp_kube_user, key.text) },
        { "token", KUBE_TEXT, offsetof(struct zp_kube_user, token) },
        { "tokenFile", KUBE_FILE, offsetof(struct zp_kube_user, token_file) },
        { "username", KUBE_TEXT, offsetof(struct zp_kube_user, username) },
        { "password", KUBE_TEXT, offsetof(struct zp_kube_user, password) },
        { 0 },
};

static const struct kube_field context_fields[] = {
        { "cluster", KUBE_TEXT, offsetof(struct context, cluster) },
        { "user", KUBE_TEXT, offsetof(struct context, user) },
        { "namespace", KUBE_TEXT, offsetof(struct context, namespace) },
        { 0 },
};

/* ---- entries ---- */

static int read_cluster(struct zp_yaml *yaml, const yaml_node_t *node, struct kube_entry *entry) {
        int r = kube_read_fields(yaml, node, "cluster", cluster_fields, &entry->cluster);
        return r < 0 ? r
                     : kube_read_bool(yaml, node, "cluster", "insecure-skip-tls-verify",
                                      &entry->cluster.skip_tls_verify);
}

static int read_user(struct zp_yaml *yaml, const yaml_node_t *node, struct kube_entry *entry) {
        static const char *const unsupported[] = { "as", "as-uid", "as-groups", "as-user-extra", "auth-provider" };
        const yaml_node_t *value;
        int r = kube_read_fields(yaml, node, "user", user_fields, &entry->user);
        for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported && r == 0; i++) {
                r = kube_find(yaml, node, "user", unsupported[i], &value);
                if (r == 0 && value)
                        r = zp_yaml_fail(yaml, value, "user: '%s' is not supported", unsupported[i]);
        }
        if (r == 0)
                r = kube_find(yaml, node, "user", "exec", &value);
        return r < 0 || !value ? r : kube_read_exec(yaml, value, &entry->user.exec);
}

static int read_context(struct zp_yaml *yaml, const yaml_node_t *node, struct kube_entry *entry) {
        return kube_read_fields(yaml, node, "context", context_fields, &entry->context);
}

static struct kube_entry *find_entry(struct kube_entry *list, const char *name) {
        while (list && strcmp(list->name, name) != 0)
                list = list->next;
        return list;
}

/* One of the three lists: entries of { name: NAME, MEMBER: {…} }. */
static int read_list(struct zp_yaml *yaml, const yaml_node_t *root, const char *key, const char *member,
                     struct kube_entry **list,
                     int (*read)(struct zp_yaml *, const yaml_node_t *, struct kube_entry *)) {
        struct zp_kube_files *files = yaml->context;
        const yaml_node_t *sequence;
        size_t count = 0;
        int r = kube_find(yaml, root, "kubeconfig", key, &sequence);
        if (r == 0)
                r = kube_count_items(yaml, sequence, key, ENTRIES_MAX, &count);
        for (size_t i = 0; i < count && r == 0; i++) {
                const yaml_node_t *item = zp_yaml_entry(yaml, sequence, i), *node;
                const char *name = NULL;
                r = kube_read_text(yaml, item, key, "name", &name);
                if (r == 0)
                        r = kube_find(yaml, item, key, member, &node);
                if (r < 0 || !name || !node || find_entry(*list, name))
                        continue;
                struct kube_entry *entry = zp_arena_alloc(files->arena, sizeof *entry);
                if (!entry)
                        return zp_yaml_no_memory(yaml);
                r = read(yaml, node, entry);
                entry->name = name;
                entry->next = *list;
                *list = entry;
        }
        return r;
}

static int read_root(struct zp_yaml *yaml, const yaml_node_t *root) {
        struct zp_kube_files *files = yaml->context;
        int r = files->current_context
                        ? 0
                        : kube_read_text(yaml, root, "kubeconfig", "current-context", &files->current_context);
        if (r == 0)
                r = read_list(yaml, root, "clusters", "cluster", &files->clusters, read_cluster);
        if (r == 0)
                r = read_list(yaml, root, "users", "user", &files->users, read_user);
        return r < 0 ? r : read_list(yaml, root, "contexts", "context", &files->contexts, read_context);
}

struct zp_kube_files *zp_kube_files_new(struct zp_arena *arena) {
        struct zp_kube_files *files = zp_arena_alloc(arena, sizeof *files);
        if (files)
                files->arena = arena;
        return files;
}

int zp_kube_files_parse(struct zp_kube_files *files, const char *text, size_t size, const char *path,
                        struct zp_error *err) {
        struct zp_yaml yaml = { .path = path, .what = "kubeconfig", .context = files, .err = err };
        files->path = path;
        return zp_yaml_read(text, size, &yaml, read_root);
}

int zp_kube_files_choose(struct zp_kube_files *files, const char *context, struct zp_kube_config *config,
                         struct zp_error *err) {
        const char *name = context ? context : files->current_context;
        if (!name) {
                zp_error_set(err, EINVAL, "kubeconfig: no current context");
                zp_error_hint(err, "`kubectl config use-context NAME` sets it");
                return -EINVAL;
        }
        struct kube_entry *chosen = find_entry(files->contexts, name), *cluster = NULL, *user = NULL;
        if (!chosen)
                return zp_error_set(err, EINVAL, "kubeconfig: there is no context '%.200s'", name);
        if (chosen->context.cluster)
                cluster = find_entry(files->clusters, chosen->context.cluster);
        if (!cluster || !cluster->cluster.server)
                return zp_error_set(err, EINVAL, "kubeconfig: context '%.200s' has no cluster with a server", name);
        if (chosen->context.user)
                user = find_entry(files->users, chosen->context.user);
        if (chosen->context.user && !user)
                return zp_error_set(err, EINVAL, "kubeconfig: there is no user '%.200s'", chosen->context.user);
        config->cluster = cluster->cluster;
        if (user)
                config->user = user->user;
        config->namespace = chosen->context.namespace;
        return 0;
}
