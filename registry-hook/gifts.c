/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/gifts.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "registry-hook/auths.h"
#include "registry-hook/log.h"
#include "registry-hook/profiles.h"

static char *auths_path(const char *state, int64_t build) {
        return zp_format("%s/auths/%lld", state, (long long) build);
}

static int write_auths(const char *state, int64_t build, const char *auths, struct hook_gifts *out,
                       struct zp_error *err) {
        zp_autofree char *directory = zp_format("%s/auths", state), *path = auths_path(state, build);
        if (!directory || !path)
                return zp_error_errno(err, ENOMEM, "auths");
        int r = zp_make_directories(directory, 0700, err);
        if (r == 0)
                r = zp_replace_file(AT_FDCWD, path, auths, strlen(auths), 0600, err);
        if (r == 0)
                out->auths = zp_steal(&path);
        return r;
}

static char *profile_path(const char *state, int64_t build) {
        return zp_format("%s/profiles/%lld", state, (long long) build);
}

/* The repository's merged profile as a file. */
static int write_profile(const char *state, const struct hook_build *build, const struct zp_profile *profile,
                         struct hook_gifts *out, struct zp_error *err) {
        zp_autofree char *directory = zp_format("%s/profiles", state), *path = profile_path(state, build->id);
        zp_autobuffer struct zp_buffer text = { 0 };
        if (!directory || !path)
                return zp_error_errno(err, ENOMEM, "profile");
        int r = zp_profile_format(profile, &text, err);
        if (r == 0)
                r = zp_make_directories(directory, 0700, err);
        if (r == 0)
                r = zp_replace_file(AT_FDCWD, path, text.data, text.size, 0600, err);
        if (r == 0)
                out->profile = zp_steal(&path);
        return r;
}

void hook_gifts_find(struct hook_db *database, const char *state, const struct hook_config *config,
                     const struct hook_build *build, struct hook_gifts *out) {
        const struct hook_rule *rule = hook_config_rule(config, build->rule);
        zp_auto(zp_profile_free) struct zp_profile *profile = NULL;
        char repository[HOOK_HOST_SIZE + HOOK_REPOSITORY_SIZE];
        struct zp_error err = { 0 };
        char *auths = NULL;
        *out = (struct hook_gifts){ 0 };
        snprintf(repository, sizeof repository, "%s/%s", build->host, build->repository);
        sqlite3 *db = hook_db_begin_read(database);
        int r = hook_queue_previous(db, build, out->previous, &err);
        if (r == 0 && rule && rule->has_profile)
                r = hook_profiles_merge(db, repository, &profile, &err);
        if (r == 0)
                r = hook_queue_build_auths(db, build->id, &auths, &err);
        hook_db_end_read(database);
        if (r == 0 && auths)
                r = write_auths(state, build->id, auths, out, &err);
        zp_secret_free(auths);
        if (r == 0 && profile)
                r = write_profile(state, build, profile, out, &err);
        if (r < 0)
                hook_log(HOOK_LOG_WARNING, "build %lld: %s", (long long) build->id, err.message);
}

void hook_gifts_clear(struct hook_gifts *gifts) {
        free(gifts->profile);
        free(gifts->auths);
        *gifts = (struct hook_gifts){ 0 };
}

void hook_gifts_take_back(const char *state, int64_t build) {
        zp_autofree char *profile = profile_path(state, build), *auths = auths_path(state, build);
        if (profile)
                unlink(profile);
        if (auths)
                unlink(auths);
}

int hook_gifts_recover(const char *state, struct zp_error *err) {
        zp_autofree char *directory = zp_format("%s/auths", state);
        return directory ? zp_remove_tree(AT_FDCWD, directory, err) : zp_error_errno(err, ENOMEM, "auths");
}
