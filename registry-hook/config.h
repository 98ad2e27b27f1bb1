/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's configuration: one YAML file (docs/hook.md). Once loaded nothing changes it, and threads share it; a
 * reload makes another, and the old one goes when its last user lets go.
 */
#ifndef HOOK_CONFIG_H
#define HOOK_CONFIG_H

#include "registry-hook/providers/provider.h"

#define HOOK_CONFIG_DEFAULT_PATH "/etc/zeropull/hook.yaml"

/* What a bearer of a token may do; each includes those before. */
enum hook_role { HOOK_NOBODY, HOOK_READER, HOOK_BUILDER, HOOK_ADMIN };

struct hook_token {
        const char *name;
        enum hook_role role;
        struct zp_digest digest; /* SHA-256 of the token */
};

/* A registry whose images may be built: nothing is ever asked of a host that no entry names. */
struct hook_registry {
        const char *host; /* a pattern (base/glob.h) */
        size_t line;
        const char *auth_file, *ca_file;
        size_t auth_file_line, ca_file_line;
        bool plain_http;
        int concurrency;                 /* builds of its images at a time */
        int64_t reconcile_ms;            /* how often it is looked for pushes nobody told of; 0: never */
        bool has_catalog;                /* all its repositories are looked at, as its catalog lists them */
        const char *const *repositories; /* beside or instead: these */
        size_t repository_count;
};

struct hook_condition {
        const char *name, *pattern; /* of a label or annotation, and of its value */
};

struct hook_rule {
        const char *name;
        size_t line;
        bool is_skip;                    /* what matches is not built */
        const char *const *repositories; /* patterns of "host/repository"; at least one */
        size_t repository_count;
        const char *const *tags; /* patterns; none: any, and no tag at all */
        size_t tag_count;
        const char *const *not_repositories, *const *not_tags;
        size_t not_repository_count, not_tag_count;
        const struct hook_condition *labels, *annotations; /* all must hold */
        size_t label_count, annotation_count;
        const char *const *platforms; /* "linux/amd64"; none: every one */
        size_t platform_count;
        int64_t min_size;
        const char *target; /* a remote; NULL: beside the image */
        const char *sign_key, *passphrase_file;
        size_t sign_key_line;
        enum hook_base { HOOK_BASE_PREVIOUS, HOOK_BASE_NONE, HOOK_BASE_REBUILD, HOOK_BASE_IMAGE } base;
        const char *base_image; /* of HOOK_BASE_IMAGE: whose data is referred to instead of stored again */
        bool has_profile;       /* the repository's merged start-up profile orders the snapshot */
        int priority;
        int64_t keep;          /* newest snapshots of a repository and platform that stay in any case; 0: one */
        int64_t superseded_ms; /* how long others stay once no tag names their image; 0: for ever */
        int64_t deleted_ms;    /* how long they stay once the image is gone; 0: for ever */
        bool is_dry_run;       /* it is told what would be removed, and none is */
};

struct hook_config {
        struct zp_arena *arena;
        const char *path;
        const char *listen; /* "127.0.0.1:8480", "[::]:443" */
        const char *url;    /* where others reach it, for the lines that configure registries; NULL: by `listen` */
        const char *tls_certificate, *tls_key; /* files; NULL: plain HTTP */
        size_t tls_line, builder_line;
        const char *state, *builder, *store; /* NULL: the defaults */
        int concurrency;                     /* builds at a time */
        enum hook_role anonymous;            /* what somebody without a token may do */
        int64_t body_size, connections, idle_ms;
        int64_t memory, time_ms, file_size, min_free;
        int64_t history_ms, history_keep;
        const struct hook_token *tokens;
        size_t token_count;
        const struct hook_endpoint *endpoints;
        size_t endpoint_count;
        const struct hook_registry *registries;
        size_t registry_count;
        const struct hook_rule *rules;
        size_t rule_count;
        int references; /* config.c's; changed atomically */
};

/* -EINVAL with "path:line: " in front. Reads the files that it names, too: what cannot be used is an error here. */
int hook_config_load(const char *path, struct hook_config **out, struct zp_error *err);
/* Without those of keys, certificates and credentials. */
int hook_config_parse(const char *text, size_t size, const char *path, struct hook_config **out, struct zp_error *err);
/* Whether the builder that it names is a program, which counts at the start only. -EINVAL, as above. */
int hook_config_check_builder(const struct hook_config *config, struct zp_error *err);
struct hook_config *hook_config_hold(struct hook_config *config);
void hook_config_drop(struct hook_config *config);
ZP_DEFINE_AUTO(struct hook_config, hook_config_drop);

/* NULL: there is none of that name. */
const struct hook_endpoint *hook_config_endpoint(const struct hook_config *config, const char *name);
/* The first entry that names the host; NULL: it is not allowed. */
const struct hook_registry *hook_config_registry(const struct hook_config *config, const char *host);
/* NULL: there is none (any more). */
const struct hook_rule *hook_config_rule(const struct hook_config *config, const char *name);
/* In constant time for each token. `token` NULL: none was shown. *name (may be NULL) is set to the token's, or
 * "anonymous"; it lives as long as the configuration. */
enum hook_role hook_config_role(const struct hook_config *config, const char *token, const char **name);

/* The configuration that is in force, exchanged as a whole. */
struct hook_current;
int hook_current_new(struct hook_config *config, struct hook_current **out, struct zp_error *err); /* takes it over */
struct hook_config *hook_current_hold(struct hook_current *current);
void hook_current_exchange(struct hook_current *current, struct hook_config *config); /* takes it over */
void hook_current_free(struct hook_current *current);
ZP_DEFINE_AUTO(struct hook_current, hook_current_free);

#endif
