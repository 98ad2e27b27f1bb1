/* SPDX-License-Identifier: Apache-2.0
 *
 * /v1/profiles: what containers read when they start.
 */
#include <string.h>

#include "oci/reference.h"
#include "registry-hook/clock.h"
#include "registry-hook/profiles.h"
#include "registry-hook/server.h"

/* "host/repository", of the query; malloc'ed; NULL: `err` says why. */
static char *wanted_repository(struct hook_exchange *x, struct zp_error *err) {
        const char *text = hook_query(x, "repository");
        struct zp_reference reference;
        if (!text || strchr(text, '@')) {
                zp_error_set(err, EINVAL, "'repository' is missing, or is none");
                return NULL;
        }
        if (zp_reference_parse(text, &reference, err) < 0)
                return NULL;
        char *name = zp_format("%s/%s", reference.registry, reference.repository);
        bool is_allowed = hook_config_registry(x->config, reference.registry) != NULL;
        zp_reference_clear(&reference);
        if (name && !is_allowed) {
                zp_error_set(err, EINVAL, "the registry of %s is not in the configuration", name);
                free(zp_steal(&name));
        } else if (!name) {
                zp_error_errno(err, ENOMEM, "profile");
        }
        return name;
}

static int add(struct hook_exchange *x, const char *repository, uint32_t *count, struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *profile = zp_profile_new();
        zp_autobuffer struct zp_buffer text = { 0 };
        struct zp_digest digest;
        char digest_text[ZP_DIGEST_TEXT_SIZE];
        static const char *const booleans[] = { "true", "false", NULL };
        const char *partial;
        int r = profile ? hook_query_word(x, "partial", booleans, &partial, err)
                        : zp_error_errno(err, ENOMEM, "profile");
        if (r < 0)
                return r;
        r = zp_profile_parse(profile, x->body.data ? x->body.data : "", x->body.size, "profile", err);
        if (r == 0)
                zp_profile_entries(profile, count);
        if (r == 0 && *count == 0)
                r = zp_error_set(err, EINVAL, "profile: it says nothing");
        if (r == 0)
                r = zp_profile_format(profile, &text, err);
        if (r == 0)
                r = zp_profile_digest(profile, &digest, err);
        if (r < 0)
                return r;
        struct hook_profile_report report = { .repository = repository,
                                              .text = text.data,
                                              .digest = zp_digest_text(&digest, digest_text),
                                              .is_partial = partial && strcmp(partial, "true") == 0,
                                              .now_ms = hook_now_ms() };
        return hook_db_promise(x->service->db, hook_profiles_add, &report, err);
}

enum MHD_Result hook_api_add_profile(struct hook_exchange *x) {
        struct zp_error err = { 0 };
        uint32_t count = 0;
        zp_autofree char *repository = wanted_repository(x, &err);
        if (!repository || add(x, repository, &count, &err) < 0)
                return hook_reply_failed(x, &err);
        return hook_reply_json(x, 200, json_pack("{s:s, s:I}", "repository", repository, "ranges", (json_int_t) count));
}

enum MHD_Result hook_api_get_profile(struct hook_exchange *x) {
        struct zp_error err = { 0 };
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        zp_autobuffer struct zp_buffer text = { 0 };
        zp_autofree char *repository = wanted_repository(x, &err);
        int r = repository ? hook_profiles_merge(hook_db_begin_read(x->service->db), repository, &profile, &err)
                           : -err.code;
        if (repository)
                hook_db_end_read(x->service->db);
        if (r == 0 && !profile)
                r = zp_error_set(&err, ENOENT, "no profile of %s", repository);
        if (r == 0)
                r = zp_profile_format(profile, &text, &err);
        return r < 0 ? hook_reply_failed(x, &err) : hook_reply_text(x, "text/plain; charset=utf-8", &text);
}
