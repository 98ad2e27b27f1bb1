/* SPDX-License-Identifier: Apache-2.0
 *
 * What a kubeconfig says of a program that prints credentials.
 */
#include <string.h>

#include "base/buffer.h"
#include "controller/kube/kubeconfig-internal.h"

#define WORDS_MAX 256

static int read_arguments(struct zp_yaml *yaml, const yaml_node_t *mapping, struct zp_kube_exec *exec) {
        const yaml_node_t *list;
        size_t count;
        int r = kube_find(yaml, mapping, "exec", "args", &list);
        if (r == 0)
                r = kube_count_items(yaml, list, "args", WORDS_MAX, &count);
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
                if (!(exec->arguments[i + 1] = kube_keep(files, (const char *) item->data.scalar.value)))
                        return zp_yaml_no_memory(yaml);
        }
        return 0;
}

static int read_environment(struct zp_yaml *yaml, const yaml_node_t *mapping, struct zp_kube_exec *exec) {
        const yaml_node_t *list;
        size_t count;
        int r = kube_find(yaml, mapping, "exec", "env", &list);
        if (r == 0)
                r = kube_count_items(yaml, list, "env", WORDS_MAX, &count);
        if (r < 0)
                return r;
        struct zp_kube_files *files = yaml->context;
        exec->environment = zp_arena_alloc(files->arena, (count + 1) * sizeof *exec->environment);
        if (!exec->environment)
                return zp_yaml_no_memory(yaml);
        for (size_t i = 0; i < count; i++) {
                const yaml_node_t *item = zp_yaml_entry(yaml, list, i);
                const char *name = NULL, *value = "";
                r = kube_read_text(yaml, item, "env", "name", &name);
                if (r == 0)
                        r = kube_read_text(yaml, item, "env", "value", &value);
                if (r == 0 && (!name || strchr(name, '=')))
                        r = zp_yaml_fail(yaml, item, "env: not a variable's name");
                if (r < 0)
                        return r;
                zp_autofree char *variable = zp_format("%s=%s", name, value);
                if (!variable || !(exec->environment[i] = kube_keep(files, variable)))
                        return zp_yaml_no_memory(yaml);
        }
        return 0;
}

int kube_read_exec(struct zp_yaml *yaml, const yaml_node_t *node, struct zp_kube_exec *exec) {
        struct zp_kube_files *files = yaml->context;
        int r = kube_read_text(yaml, node, "exec", "apiVersion", &exec->api_version);
        if (r == 0)
                r = kube_read_text(yaml, node, "exec", "command", &exec->command);
        if (r == 0)
                r = kube_read_bool(yaml, node, "exec", "provideClusterInfo", &exec->wants_cluster);
        if (r < 0)
                return r;
        if (!exec->command)
                return zp_yaml_fail(yaml, node, "exec: 'command' is missing");
        if (!exec->api_version || (strcmp(exec->api_version, "client.authentication.k8s.io/v1") != 0 &&
                                   strcmp(exec->api_version, "client.authentication.k8s.io/v1beta1") != 0))
                return zp_yaml_fail(yaml, node, "exec: apiVersion is not client.authentication.k8s.io/v1 or v1beta1");
        if (strchr(exec->command, '/') && !(exec->command = kube_keep_path(files, exec->command)))
                return zp_yaml_no_memory(yaml);
        r = read_arguments(yaml, node, exec);
        return r < 0 ? r : read_environment(yaml, node, exec);
}
