/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of kubeconfigs. Members that nobody here knows are left alone, as kubectl does: other tools keep theirs in
 * the same file. Those that would change who we are, and are not understood, are errors.
 */
#include <string.h>
#include <openssl/evp.h>

#include "base/buffer.h"
#include "base/yaml.h"
#include "controller/kube/kube-internal.h"

#define ENTRIES_MAX 4096
#define MEMBERS_MAX 256
#define WORDS_MAX 256

struct context {
        const char *name, *cluster, *user, *namespace;
};

/* One named entry; the first of a name counts. */
struct entry {
        struct entry *next;
        union {
                const char *name; /* that all three begin with */
                struct zp_kube_cluster cluster;
                struct zp_kube_user user;
                struct context context;
        };
};

struct zp_kube_files {
        struct zp_arena *arena;
        const char *path, *current_context;
        struct entry *clusters, *users, *contexts;
};

enum kind { TEXT, FILE_PATH, DATA };

struct field {
        const char *key;
        enum kind kind;
        size_t member; /* offset of a const char * */
};

static const struct field cluster_fields[] = {
        { "server", TEXT, offsetof(struct zp_kube_cluster, server) },
        { "tls-server-name", TEXT, offsetof(struct zp_kube_cluster, tls_server_name) },
        { "proxy-url", TEXT, offsetof(struct zp_kube_cluster, proxy) },
        { "certificate-authority", FILE_PATH, offsetof(struct zp_kube_cluster, authority.file) },
        { "certificate-authority-data", DATA, offsetof(struct zp_kube_cluster, authority.text) },
        { 0 },
};

static const struct field user_fields[] = {
        { "client-certificate", FILE_PATH, offsetof(struct zp_kube_user, certificate.file) },
        { "client-certificate-data", DATA, offsetof(struct zp_kube_user, certificate.text) },
        { "client-key", FILE_PATH, offsetof(struct zp_kube_user, key.file) },
        { "client-key-data", DATA, offsetof(struct zp_kube_user, key.text) },
        { "token", TEXT, offsetof(struct zp_kube_user, token) },
        { "tokenFile", FILE_PATH, offsetof(struct zp_kube_user, token_file) },
        { "username", TEXT, offsetof(struct zp_kube_user, username) },
        { "password", TEXT, offsetof(struct zp_kube_user, password) },
        { 0 },
};

static const struct field context_fields[] = {
        { "cluster", TEXT, offsetof(struct context, cluster) },
        { "user", TEXT, offsetof(struct context, user) },
        { "namespace", TEXT, offsetof(struct context, namespace) },
        { 0 },
};

char *zp_kube_decode_base64(const char *text) {
        zp_autofree unsigned char *out = malloc(strlen(text) / 4 * 3 + 4);
        EVP_ENCODE_CTX *decoder = EVP_ENCODE_CTX_new();
        int size = 0, rest = 0;
        bool is_good = out && decoder && strlen(text) < KUBE_FILE_MAX;
        if (is_good) {
                EVP_DecodeInit(decoder);
                is_good =
                        EVP_DecodeUpdate(decoder, out, &size, (const unsigned char *) text, (int) strlen(text)) >= 0 &&
                        EVP_DecodeFinal(decoder, out + size, &rest) == 1;
        }
        EVP_ENCODE_CTX_free(decoder);
        if (!is_good || memchr(out, '\0', (size_t) (size + rest)))
                return NULL;
        out[size + rest] = '\0';
        return (char *) zp_steal(&out);
}

/* ---- values ---- */

static char *keep(struct zp_kube_files *files, const char *text) {
        return zp_arena_copy(files->arena, text, strlen(text));
}

/* A relative name in a file is meant from the file's directory. */
static char *keep_path(struct zp_kube_files *files, const char *name) {
        const char *slash = strrchr(files->path, '/');
        if (name[0] == '/' || !slash)
                return keep(files, name);
        zp_autofree char *path = zp_format("%.*s/%s", (int) (slash - files->path), files->path, name);
        return path ? keep(files, path) : NULL;
}

static bool is_null(const yaml_node_t *node) {
        if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
                return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0;
        const char *text = (const char *) node->data.scalar.value;
        return text[0] == '\0' || strcmp(text, "null") == 0 || strcmp(text, "~") == 0;
}

/* The value of a member; NULL in *out: it is not there, or null, or empty. */
static int find(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
                const yaml_node_t **out) {
        size_t count;
        *out = NULL;
        int r = zp_yaml_mapping(yaml, mapping, what, MEMBERS_MAX, &count);
        for (size_t i = 0; i < count && r == 0; i++) {
                yaml_node_t *name, *value;
                zp_yaml_pair(yaml, mapping, i, &name, &value);
                if (name->type != YAML_SCALAR_NODE || strcmp((const char *) name->data.scalar.value, key) != 0)
                        continue;
                *out = is_null(value) ? NULL : value;
                return 0;
        }
        return r;
}

static int read_text(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key,
                     const char **out) {
        const yaml_node_t *node;
        int r = find(yaml, mapping, what, key, &node);
        if (r < 0 || !node)
                return r;
        const char *text;
        r = zp_yaml_text(yaml, node, key, &text);
        if (r == 0 && !(*out = keep(yaml->context, text)))
                r = zp_yaml_no_memory(yaml);
        return r;
}

static int read_data(struct zp_yaml *yaml, const yaml_node_t *node, const char *key, const char *text,
                     const char **out) {
        zp_autofree char *decoded = zp_kube_decode_base64(text);
        if (!decoded)
                return zp_yaml_fail(yaml, node, "%s: not base64", key);
        *out = keep(yaml->context, decoded);
        return *out ? 0 : zp_yaml_no_memory(yaml);
}

static int read_fields(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const struct field *fields,
                       void *out) {
        for (const struct field *field = fields; field->key; field++) {
                const char *text, **member = (const char **) ((char *) out + field->member);
                const yaml_node_t *node;
                int r = find(yaml, mapping, what, field->key, &node);
                if (r < 0 || !node) {
                        if (r < 0)
                                return r;
                        continue;
                }
                r = zp_yaml_text(yaml, node, field->key, &text);
                if (r < 0)
                        return r;
                if (field->kind == DATA)
                        r = read_data(yaml, node, field->key, text, member);
                else
                        *member = field->kind == TEXT ? keep(yaml->context, text) : keep_path(yaml->context, text);
                if (r == 0 && !*member)
                        r = zp_yaml_no_memory(yaml);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int read_bool(struct zp_yaml *yaml, const yaml_node_t *mapping, const char *what, const char *key, bool *out) {
        const yaml_node_t *node;
        const char *text;
        int r = find(yaml, mapping, what, key, &node);
        if (r < 0 || !node)
                return r;
        r = zp_yaml_text(yaml, node, key, &text);
        if (r < 0)
                return r;
        *out = strcmp(text, "true") == 0;
        return *out || strcmp(text, "false") == 0 ? 0 : zp_yaml_fail(yaml, node, "%s: neither true nor false", key);
}

/* ---- the exec plugin ---- */

static int count_items(struct zp_yaml *yaml, const yaml_node_t *node, const char *what, size_t *count) {
        *count = 0;
        bool is_empty = node && node->type == YAML_SEQUENCE_NODE &&
                        node->data.sequence.items.top == node->data.sequence.items.start;
        return !node || is_empty ? 0 : zp_yaml_list(yaml, node, what, WORDS_MAX, count);
}

static int read_arguments(struct zp_yaml *yaml, const yaml_node_t *mapping, struct zp_kube_exec *exec) {
        const yaml_node_t *list;
        size_t count;
        int r = find(yaml, mapping, "exec", "args", &list);
        if (r == 0)
                r = count_items(yaml, list, "args", &count);
        if (r < 0)
                return r;
        struct zp_kube_files *files = yaml->context;
        exec->arguments = zp_arena_alloc(files->arena, (count + 2) * sizeof *exec->arguments);
        if (!exec->arguments)
                return zp_yaml_no_memory(yaml);
        exec->arguments[0] = (char *) exec->command;
        for (size_t i = 0; i < count; i++) {
                const yaml_node_t *item = zp_yaml_entry(yaml, list, i);
                if (item->type != YAML_SCALAR_NODE)
                        return zp_yaml_fail(yaml, item, "args: not a single value");
                if (!(exec->arguments[i + 1] = keep(files, (const char *) item->data.scalar.value)))
                        return zp_yaml_no_memory(yaml);
        }
        return 0;
}

static int read_environment(struct zp_yaml *yaml, const yaml_node_t *mapping, struct zp_kube_exec *exec) {
        const yaml_node_t *list;
        size_t count;
        int r = find(yaml, mapping, "exec", "env", &list);
        if (r == 0)
                r = count_items(yaml, list, "env", &count);
        if (r < 0)
                return r;
        struct zp_kube_files *files = yaml->context;
        exec->environment = zp_arena_alloc(files->arena, (count + 1) * sizeof *exec->environment);
        if (!exec->environment)
                return zp_yaml_no_memory(yaml);
        for (size_t i = 0; i < count; i++) {
                const yaml_node_t *item = zp_yaml_entry(yaml, list, i);
                const char *name = NULL, *value = "";
                r = read_text(yaml, item, "env", "name", &name);
                if (r == 0)
                        r = read_text(yaml, item, "env", "value", &value);
                if (r == 0 && (!name || strchr(name, '=')))
                        r = zp_yaml_fail(yaml, item, "env: not a variable's name");
                if (r < 0)
                        return r;
                zp_autofree char *variable = zp_format("%s=%s", name, value);
                if (!variable || !(exec->environment[i] = keep(files, variable)))
                        return zp_yaml_no_memory(yaml);
        }
        return 0;
}

static int read_exec(struct zp_yaml *yaml, const yaml_node_t *node, struct zp_kube_exec *exec) {
        struct zp_kube_files *files = yaml->context;
        int r = read_text(yaml, node, "exec", "apiVersion", &exec->api_version);
        if (r == 0)
                r = read_text(yaml, node, "exec", "command", &exec->command);
        if (r == 0)
                r = read_bool(yaml, node, "exec", "provideClusterInfo", &exec->wants_cluster);
        if (r < 0)
                return r;
        if (!exec->command)
                return zp_yaml_fail(yaml, node, "exec: 'command' is missing");
        if (!exec->api_version || (strcmp(exec->api_version, "client.authentication.k8s.io/v1") != 0 &&
                                   strcmp(exec->api_version, "client.authentication.k8s.io/v1beta1") != 0))
                return zp_yaml_fail(yaml, node, "exec: apiVersion is not client.authentication.k8s.io/v1 or v1beta1");
        if (strchr(exec->command, '/') && !(exec->command = keep_path(files, exec->command)))
                return zp_yaml_no_memory(yaml);
        r = read_arguments(yaml, node, exec);
        return r < 0 ? r : read_environment(yaml, node, exec);
}

/* ---- entries ---- */

static int read_cluster(struct zp_yaml *yaml, const yaml_node_t *node, struct entry *entry) {
        int r = read_fields(yaml, node, "cluster", cluster_fields, &entry->cluster);
        return r < 0 ? r
                     : read_bool(yaml, node, "cluster", "insecure-skip-tls-verify", &entry->cluster.skip_tls_verify);
}

static int read_user(struct zp_yaml *yaml, const yaml_node_t *node, struct entry *entry) {
        static const char *const unsupported[] = { "as", "as-uid", "as-groups", "as-user-extra", "auth-provider" };
        const yaml_node_t *value;
        int r = read_fields(yaml, node, "user", user_fields, &entry->user);
        for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported && r == 0; i++) {
                r = find(yaml, node, "user", unsupported[i], &value);
                if (r == 0 && value)
                        r = zp_yaml_fail(yaml, value, "user: '%s' is not supported", unsupported[i]);
        }
        if (r == 0)
                r = find(yaml, node, "user", "exec", &value);
        return r < 0 || !value ? r : read_exec(yaml, value, &entry->user.exec);
}

static int read_context(struct zp_yaml *yaml, const yaml_node_t *node, struct entry *entry) {
        return read_fields(yaml, node, "context", context_fields, &entry->context);
}

static struct entry *find_entry(struct entry *list, const char *name) {
        while (list && strcmp(list->name, name) != 0)
                list = list->next;
        return list;
}

/* One of the three lists: entries of { name: NAME, MEMBER: {…} }. */
static int read_list(struct zp_yaml *yaml, const yaml_node_t *root, const char *key, const char *member,
                     struct entry **list, int (*read)(struct zp_yaml *, const yaml_node_t *, struct entry *)) {
        struct zp_kube_files *files = yaml->context;
        const yaml_node_t *sequence;
        size_t count = 0;
        int r = find(yaml, root, "kubeconfig", key, &sequence);
        bool is_empty = sequence && sequence->type == YAML_SEQUENCE_NODE &&
                        sequence->data.sequence.items.top == sequence->data.sequence.items.start;
        if (r == 0 && sequence && !is_empty)
                r = zp_yaml_list(yaml, sequence, key, ENTRIES_MAX, &count);
        for (size_t i = 0; i < count && r == 0; i++) {
                const yaml_node_t *item = zp_yaml_entry(yaml, sequence, i), *node;
                const char *name = NULL;
                r = read_text(yaml, item, key, "name", &name);
                if (r == 0)
                        r = find(yaml, item, key, member, &node);
                if (r < 0 || !name || !node || find_entry(*list, name))
                        continue;
                struct entry *entry = zp_arena_alloc(files->arena, sizeof *entry);
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
                        : read_text(yaml, root, "kubeconfig", "current-context", &files->current_context);
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
        struct entry *chosen = find_entry(files->contexts, name), *cluster = NULL, *user = NULL;
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
