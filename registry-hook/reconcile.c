/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/reconcile.h"

#include <stdlib.h>
#include <string.h>

#include "oci/transfer.h"
#include "registry-hook/clock.h"
#include "registry-hook/decide.h"
#include "oci/listing.h"
#include "registry-hook/log.h"
#include "registry-hook/queue.h"
#include "registry-hook/rules.h"

struct work {
        struct hook_db *db;
        const struct hook_config *config;
        const struct hook_registry *registry;
        const struct zp_cancel *cancel;
        struct hook_reconciled *out;
        int64_t asked_ms; /* monotonic: when the registry was asked last */
};

/* What the tag was last seen to name; "" when it is new. */
static int last_seen(struct work *w, const char *repository, const char *tag, char digest[ZP_DIGEST_TEXT_SIZE],
                     struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        digest[0] = '\0';
        int r = hook_sql_prepare(hook_db_begin_read(w->db), &row, err,
                                 "SELECT digest FROM tags WHERE host = ?1 AND repository = ?2 AND tag = ?3"
                                 " AND platform = ''",
                                 "sss", w->registry->host, repository, tag);
        if (r == 0)
                r = hook_sql_step(row, err);
        if (r == 1)
                hook_sql_copy(row, 0, digest, ZP_DIGEST_TEXT_SIZE);
        hook_db_end_read(w->db);
        return r < 0 ? r : 0;
}

/* What it names now, by the registry's word; "" when it does not say: then a decision will find out. */
static int ask_digest(struct zp_registry *registry, const char *tag, char digest[ZP_DIGEST_TEXT_SIZE],
                      struct zp_error *err) {
        zp_autofree char *path = zp_format("manifests/%s", tag);
        struct zp_http_request request = { .is_for_push = true, .method = "HEAD", .accept = ZP_ACCEPT_MANIFESTS };
        struct zp_http_response response = { 0 };
        if (!path)
                return zp_error_errno(err, ENOMEM, "reconcile");
        int r = zp_registry_request(registry, path, &request, &response, err);
        if (r == 0 && response.status != 200)
                r = zp_registry_refused(registry, &response, err);
        digest[0] = '\0';
        if (r == 0 && response.content_digest && strlen(response.content_digest) < ZP_DIGEST_TEXT_SIZE)
                strcpy(digest, response.content_digest);
        zp_http_response_clear(&response);
        return r;
}

static int queue_event(struct work *w, const char *repository, const char *tag, struct zp_error *err) {
        struct hook_events events = { 0 };
        struct hook_event_text text = { .host = w->registry->host, .repository = repository, .tag = tag };
        char reason[QUEUE_REASON_SIZE];
        int r = hook_events_add(&events, &text, err);
        if (r == 0 && hook_decide_may_matter(w->config, &events.items[0], reason)) {
                struct hook_delivery delivery = { .events = events.items,
                                                  .count = 1,
                                                  .source = "reconcile",
                                                  .requested_by = "reconcile",
                                                  .now_ms = hook_now_ms() };
                r = hook_db_write(w->db, hook_queue_accept, &delivery, err);
                w->out->changed++;
        }
        hook_events_clear(&events);
        return r;
}

static int look_at_tag(struct work *w, struct zp_registry *registry, const char *repository, const char *tag,
                       struct zp_error *err) {
        char seen[ZP_DIGEST_TEXT_SIZE], now[ZP_DIGEST_TEXT_SIZE];
        w->out->tags++;
        int r = last_seen(w, repository, tag, seen, err);
        w->asked_ms = hook_monotonic_ms();
        if (r == 0)
                r = ask_digest(registry, tag, now, err);
        if (r == -ENOENT) /* gone since the list was made */
                return 0;
        if (r < 0 || (now[0] && strcmp(seen, now) == 0))
                return r;
        return queue_event(w, repository, tag, err);
}

static int look_at_repository(struct work *w, const char *repository, struct zp_error *err) {
        struct zp_source_options options = hook_registry_options(w->registry, w->cancel);
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        struct zp_listing tags = { 0 };
        w->out->repositories++;
        w->asked_ms = hook_monotonic_ms();
        int r = zp_registry_new(w->registry->host, repository, &options, &registry, err);
        if (r == 0)
                r = zp_list_tags(registry, &tags, err);
        if (tags.asked_ms)
                w->asked_ms = (int64_t) tags.asked_ms;
        for (size_t i = 0; i < tags.count && r == 0; i++) {
                r = zp_check_cancel(w->cancel, err);
                if (r == 0 && hook_rules_may_build(w->config, w->registry->host, repository, tags.names[i]))
                        r = look_at_tag(w, registry, repository, tags.names[i], err);
        }
        zp_listing_clear(&tags);
        return r == -ENOENT ? 0 : r;
}

static int list_catalog(struct work *w, struct zp_listing *out, struct zp_error *err) {
        struct zp_source_options options = hook_registry_options(w->registry, w->cancel);
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        int r = zp_registry_new(w->registry->host, "catalog", &options, &registry, err);
        return r < 0 ? r : zp_list_repositories(registry, out, err);
}

int hook_reconcile(struct hook_db *db, const struct hook_config *config, const struct hook_registry *registry,
                   const struct zp_cancel *cancel, struct hook_reconciled *out, struct zp_error *err) {
        struct work w = { db, config, registry, cancel, out, 0 };
        struct zp_listing catalog = { 0 };
        int slow = 0; /* in a row */
        *out = (struct hook_reconciled){ 0 };
        int result = registry->has_catalog ? list_catalog(&w, &catalog, err) : 0;
        size_t count = catalog.count + registry->repository_count, start = (size_t) hook_now_ms();
        for (size_t n = 0; n < count && slow < HOOK_SLOW_IN_A_ROW && !zp_cancelled(cancel); n++) {
                size_t i = (start + n) % count;
                const char *name = i < catalog.count ? catalog.names[i] : registry->repositories[i - catalog.count];
                struct zp_error reason = { 0 };
                if (look_at_repository(&w, name, &reason) == 0) {
                        slow = 0;
                        continue;
                }
                hook_log(HOOK_LOG_WARNING, "reconcile %s/%s: %s", registry->host, name, reason.message);
                *err = reason;
                result = -reason.code;
                slow = hook_monotonic_ms() - w.asked_ms > HOOK_SLOW_MS ? slow + 1 : 0;
        }
        zp_listing_clear(&catalog);
        return result;
}
