/* SPDX-License-Identifier: Apache-2.0 */
#include "trust/policy.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/file.h"
#include "trust/policy-internal.h"

/* ---- loading ---- */

/* A key's file counts from the policy's directory. */
static int load_key(void *argument, const char *file, struct zp_key **out, struct zp_error *err) {
        const char *policy = argument, *slash = strrchr(policy, '/');
        int directory = slash && file[0] != '/' ? (int) (slash + 1 - policy) : 0;
        zp_autofree char *path = zp_format("%.*s%s", directory, policy, file);
        return path ? zp_key_load_public(path, out, err) : zp_error_errno(err, ENOMEM, "key '%s'", file);
}

int zp_policy_load(const char *path, struct zp_policy **out, struct zp_error *err) {
        zp_autofree char *text = NULL;
        size_t size = 0;
        int r = zp_read_file(AT_FDCWD, path, ZP_POLICY_SIZE_MAX, &text, &size, err);
        if (r < 0) {
                zp_error_wrap(err, "policy");
                return r;
        }
        struct zp_policy_loader loader = { load_key, (void *) path };
        return zp_policy_parse(text, size, path, &loader, out, err);
}

int zp_policy_load_if_present(const char *path, struct zp_policy **out, struct zp_error *err) {
        if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
                return zp_policy_load(path, out, err);
        zp_auto(zp_policy_free) struct zp_policy *policy = calloc(1, sizeof *policy);
        if (!policy || !(policy->path = strdup(path)))
                return zp_error_errno(err, ENOMEM, "policy '%s'", path);
        *out = zp_steal(&policy);
        return 0;
}

void zp_policy_free(struct zp_policy *policy) {
        if (!policy)
                return;
        for (size_t i = 0; i < policy->key_count; i++) {
                free(policy->keys[i].name);
                zp_key_free(policy->keys[i].key);
        }
        for (size_t i = 0; i < policy->rule_count; i++)
                free(policy->rules[i].repository);
        free(policy->keys);
        free(policy->rules);
        free(policy->path);
        free(policy);
}

/* ---- deciding ---- */

char *zp_policy_name(const struct zp_reference *image) {
        const char *port = strrchr(image->registry, ':');
        size_t host = port && strcmp(port, ":443") == 0 ? (size_t) (port - image->registry) : strlen(image->registry);
        char *name = zp_format("%.*s/%s", (int) host, image->registry, image->repository);
        for (char *p = name; p && *p && *p != '/'; p++)
                if (*p >= 'A' && *p <= 'Z')
                        *p = (char) (*p - 'A' + 'a');
        return name;
}

static bool matches(const struct zp_policy_rule *rule, const char *name) {
        return rule->is_prefix ? strncmp(name, rule->repository, strlen(rule->repository)) == 0
                               : strcmp(name, rule->repository) == 0;
}

static bool is_narrower(const struct zp_policy_rule *rule, const struct zp_policy_rule *than) {
        if (!than || !rule->is_prefix)
                return true;
        return than->is_prefix && strlen(rule->repository) > strlen(than->repository);
}

const struct zp_policy_rule *zp_policy_find(const struct zp_policy *policy, const char *name) {
        const struct zp_policy_rule *best = NULL;
        for (size_t i = 0; i < policy->rule_count; i++)
                if (matches(&policy->rules[i], name) && is_narrower(&policy->rules[i], best))
                        best = &policy->rules[i];
        return best;
}

bool zp_policy_wants_signatures(const struct zp_policy *policy, const struct zp_reference *image) {
        zp_autofree char *name = zp_policy_name(image);
        const struct zp_policy_rule *rule = name ? zp_policy_find(policy, name) : NULL;
        return !name || (rule && rule->action == ZP_POLICY_REQUIRE);
}

static bool is_signed_by(struct zp_key *key, const struct zp_digest *artifact, const struct zp_digest *subject,
                         const struct zp_signature *signatures, size_t count) {
        for (size_t i = 0; i < count; i++)
                if (zp_signature_verify(&signatures[i], artifact, subject, &key, 1, NULL, NULL) == 0)
                        return true;
        return false;
}

static void decide(struct zp_policy_verdict *out, bool is_accepted, const struct zp_policy *policy,
                   const struct zp_policy_rule *rule, const char *format, ...) __attribute__((format(printf, 5, 6)));

static void decide(struct zp_policy_verdict *out, bool is_accepted, const struct zp_policy *policy,
                   const struct zp_policy_rule *rule, const char *format, ...) {
        char what[256];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
        out->is_accepted = is_accepted;
        snprintf(out->reason, sizeof out->reason, "%.200s:%zu: %s", policy->path, rule->line, what);
}

static void check_required(const struct zp_policy *policy, const struct zp_policy_rule *rule,
                           const struct zp_digest *artifact, const struct zp_digest *subject,
                           const struct zp_signature *signatures, size_t count, struct zp_policy_verdict *out) {
        size_t good = 0;
        for (size_t i = 0; i < rule->key_count && good < rule->threshold; i++)
                good += is_signed_by(rule->keys[i], artifact, subject, signatures, count);
        if (good == rule->threshold)
                decide(out, true, policy, rule, "signed by %zu of %zu required keys", good, rule->key_count);
        else if (count == 0)
                decide(out, false, policy, rule, "the snapshot is not signed, and must be by %zu of %zu keys",
                       rule->threshold, rule->key_count);
        else
                decide(out, false, policy, rule, "%zu signature%s, of which %zu good by one of %zu keys; %zu wanted",
                       count, count == 1 ? "" : "s", good, rule->key_count, rule->threshold);
}

void zp_policy_check(const struct zp_policy *policy, const struct zp_reference *image, const struct zp_digest *artifact,
                     const struct zp_digest *subject, const struct zp_signature *signatures, size_t count,
                     struct zp_policy_verdict *out) {
        zp_autofree char *name = zp_policy_name(image);
        const struct zp_policy_rule *rule = name ? zp_policy_find(policy, name) : NULL;
        if (!name)
                *out = (struct zp_policy_verdict){ false, "out of memory" };
        else if (!rule)
                *out = (struct zp_policy_verdict){ true, "no rule asks for a signature" };
        else if (rule->action == ZP_POLICY_REQUIRE)
                check_required(policy, rule, artifact, subject, signatures, count, out);
        else if (rule->action == ZP_POLICY_ACCEPT)
                decide(out, true, policy, rule, "accepted without a signature");
        else
                decide(out, false, policy, rule, "snapshots of this repository are rejected");
}
