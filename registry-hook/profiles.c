/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/profiles.h"

#include <string.h>

int hook_profiles_add(sqlite3 *db, void *context, struct zp_error *err) {
        const struct hook_profile_report *report = context;
        int r = hook_sql_run(db, err,
                             "INSERT OR REPLACE INTO profiles (repository, digest, profile, received, is_partial)"
                             " VALUES (?1, ?2, ?3, ?4, ?5 AND NOT EXISTS (SELECT 1 FROM profiles WHERE repository = ?1"
                             " AND digest = ?2 AND NOT is_partial))",
                             "sssii", report->repository, report->digest, report->text, report->now_ms,
                             (int64_t) report->is_partial);
        if (r >= 0)
                r = hook_sql_run(db, err,
                                 "DELETE FROM profiles WHERE repository = ?1 AND is_partial = ?3 AND id NOT IN"
                                 " (SELECT id FROM profiles WHERE repository = ?1 AND is_partial = ?3"
                                 " ORDER BY id DESC LIMIT ?2)",
                                 "sii", report->repository, (int64_t) HOOK_PROFILE_REPORTS,
                                 (int64_t) report->is_partial);
        return r < 0 ? r : 0;
}

int hook_profiles_merge(sqlite3 *db, const char *repository, struct zp_profile **out, struct zp_error *err) {
        zp_auto(zp_profile_free) struct zp_profile *merged = zp_profile_new();
        hook_autostmt sqlite3_stmt *row = NULL;
        bool any = false;
        *out = NULL;
        if (!merged)
                return zp_error_errno(err, ENOMEM, "profile");
        int r = hook_sql_prepare(db, &row, err,
                                 "SELECT profile FROM profiles WHERE repository = ?1 ORDER BY is_partial, id DESC", "s",
                                 repository);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                const char *text = hook_sql_text(row, 0);
                r = zp_profile_parse(merged, text, strlen(text), repository, err);
                if (r == -E2BIG || (r == -EBADMSG && any)) { /* together they are too many: the latest count */
                        r = 0;
                        break;
                }
                any = true;
        }
        if (r == 0 && any)
                *out = zp_steal(&merged);
        return r;
}
