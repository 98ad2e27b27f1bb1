/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/command.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"

/* What the builder may know of our environment. */
static const char *const passed[] = {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TMPDIR",
        "DOCKER_CONFIG",
        "REGISTRY_AUTH_FILE",
        "XDG_RUNTIME_DIR",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "http_proxy",
        "https_proxy",
        "no_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "NO_PROXY",
        "AWS_REGION",
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "ASAN_OPTIONS",
        "UBSAN_OPTIONS",
        "LSAN_OPTIONS",
};
#define PASSED (sizeof passed / sizeof *passed)
static_assert(PASSED <= HOOK_VARIABLES_MAX, "one too few");

static void add(struct hook_command *c, const char *argument) {
        c->argv[c->count++] = argument;
}

static bool add_owned(struct hook_command *c, char *argument) {
        if (!argument)
                return false;
        c->owned[c->owned_count++] = argument;
        add(c, argument);
        return true;
}

static bool set_environment(struct hook_command *c) {
        for (size_t i = 0; i < PASSED; i++) {
                const char *value = getenv(passed[i]);
                if (!value)
                        continue;
                if (!(c->environment[c->environment_count] = zp_format("%s=%s", passed[i], value)))
                        return false;
                c->environment_count++;
        }
        return true;
}

static bool add_base(struct hook_command *c, const struct hook_build *build, const struct hook_rule *rule,
                     const char *previous) {
        switch (rule->base) {
        case HOOK_BASE_NONE:
                return add_owned(c, strdup("--base=none"));
        case HOOK_BASE_REBUILD:
                add(c, "--rebuild");
                return true;
        case HOOK_BASE_IMAGE:
                return add_owned(c, zp_format("--base=%s", rule->base_image));
        default: /* by name it would not be found: every build has another */
                return !previous[0] ||
                       add_owned(c, zp_format("--base=docker://%s/%s@%s", build->host, build->repository, previous));
        }
}

static bool is_same(const char *a, const char *b) {
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* The files of credentials, of which the first that knows a registry counts: the target's entry's, which may push; the
 * image's; and last what came with a wish, which need not push. An entry without a file means the usual places, an
 * empty name here (oci/auth-file.h). */
static bool add_auth_files(struct hook_command *c, const struct hook_registry *registry,
                           const struct hook_registry *target, const char *auths) {
        bool is_one = is_same(registry->auth_file, target->auth_file),
             is_any = registry->auth_file || target->auth_file;
        const char *usual = is_any ? "" : NULL;
        const char *files[] = { target->auth_file, is_one ? NULL : registry->auth_file,
                                is_one || (registry->auth_file && target->auth_file) ? NULL : usual, auths };
        zp_autobuffer struct zp_buffer list = { 0 };
        bool is_first = true;
        for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
                if (!files[i])
                        continue;
                if (!zp_buffer_text(&list, is_first ? "" : ":") || !zp_buffer_text(&list, files[i]))
                        return false;
                is_first = false;
        }
        return list.size == 0 || add_owned(c, zp_format("--auth-file=%s", list.data));
}

static bool set_arguments(struct hook_command *c, const struct hook_build *build, const struct hook_rule *rule,
                          const struct hook_registry *registry, const struct hook_registry *target,
                          const struct hook_run_options *options) {
        add(c, options->builder);
        add(c, "build");
        add(c, "--json");
        add(c, "--progress=json");
        add(c, "--store");
        add(c, options->store);
        bool done = add_owned(c, zp_format("--push=%s", build->target));
        if (registry->plain_http)
                add(c, "--plain-http");
        done &= add_auth_files(c, registry, target, options->auths);
        if (registry->ca_file)
                done &= add_owned(c, zp_format("--ca-file=%s", registry->ca_file));
        if (rule->sign_key)
                done &= add_owned(c, zp_format("--sign-key=%s", rule->sign_key));
        if (rule->passphrase_file)
                done &= add_owned(c, zp_format("--passphrase-file=%s", rule->passphrase_file));
        if (options->profile)
                done &= add_owned(c, zp_format("--profile=%s", options->profile));
        done &= add_base(c, build, rule, options->previous);
        return done && add_owned(c, zp_format("docker://%s/%s@%s", build->host, build->repository, build->digest));
}

int hook_command_fill(struct hook_command *c, const struct hook_build *build, const struct hook_rule *rule,
                      const struct hook_registry *registry, const struct hook_registry *target,
                      const struct hook_run_options *options, struct zp_error *err) {
        bool is_whole = set_arguments(c, build, rule, registry, target, options) && set_environment(c);
        return is_whole ? 0 : zp_error_errno(err, ENOMEM, "build");
}

void hook_command_clear(struct hook_command *c) {
        for (size_t i = 0; i < c->owned_count; i++)
                free(c->owned[i]);
        for (size_t i = 0; i < c->environment_count; i++)
                free(c->environment[i]);
}
