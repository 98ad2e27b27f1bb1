/* SPDX-License-Identifier: Apache-2.0
 *
 * The controller's configuration: one YAML file (docs/controller.md), read once.
 */
#ifndef CTL_CONFIG_H
#define CTL_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/cleanup.h"
#include "base/error.h"
#include "controller/model/snapshot.h"

/* Of agents: targets. */
#define CTL_TARGETS_MAX 64

#define CTL_CONFIG_DEFAULT_PATH "/etc/zeropull/controller.yaml"

struct ctl_registry_entry {
        const char *host;    /* a pattern (base/glob.h) */
        const char *ca_file; /* NULL: the system's authorities */
        bool plain_http;
};

struct ctl_pair {
        const char *name, *value;
};

struct ctl_config {
        struct zp_arena arena;
        enum ctl_executor_kind executor; /* of objects that name none: hook or job */
        const char *platforms[CTL_PLATFORMS_MAX];
        size_t platform_count; /* at least one */
        int64_t workers;
        int64_t cleanup_s; /* how long a deletion waits for a registry or hook that does not answer */
        const char *lease_namespace, *lease_name; /* NULL namespace: the controller's own */
        struct {
                const char *url; /* NULL: there is none */
                const char *token_file, *ca_file;
        } hook;
        struct {
                const char *image;                          /* that has zeropull; NULL: no Jobs */
                int64_t concurrency, namespace_concurrency; /* in all, and of one namespace */
                int64_t deadline_s, keep_s;
                const char *cpu, *memory, *store_size; /* quantities; NULL: no limit */
                const char *ca_config_map;             /* with ca.crt, in the namespace of each object; NULL */
                struct ctl_pair node_selector[16];
                size_t node_selector_count;
        } job;
        const struct ctl_registry_entry *registries;
        size_t registry_count;
        const char *agent_namespace, *agent_account; /* of the nodes' agents; NULL namespace: the controller's own */
        const char *targets[CTL_TARGETS_MAX];        /* patterns of registry/repository: nodes may fetch from there */
        size_t target_count;
};

/* -EINVAL with "path:line: " in front. `path` NULL: the defaults alone. */
int ctl_config_load(const char *path, struct ctl_config **out, struct zp_error *err);
int ctl_config_parse(const char *text, size_t size, const char *path, struct ctl_config **out, struct zp_error *err);
void ctl_config_free(struct ctl_config *config);
ZP_DEFINE_AUTO(struct ctl_config, ctl_config_free);

/* What is said about a registry; NULL: nothing. */
const struct ctl_registry_entry *ctl_config_registry(const struct ctl_config *config, const char *host);

#endif
