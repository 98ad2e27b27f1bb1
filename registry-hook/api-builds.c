/* SPDX-License-Identifier: Apache-2.0
 *
 * /v1/builds.
 */
#include <string.h>

#include "registry-hook/auths.h"
#include "registry-hook/clock.h"
#include "registry-hook/decide.h"
#include "registry-hook/log.h"
#include "registry-hook/server.h"
#include "registry-hook/transcript.h"

#define LIST_MAX 1000
#define LIST_DEFAULT 100

#define COLUMNS                                                                                                  \
        "id, host, repository, digest, platform, target, state, priority, rule, requested_by, created, started," \
        " finished, not_before, attempts, reason, image_size, result,"                                           \
        " (SELECT group_concat(t.tag, ' ') FROM build_tags t WHERE t.build = builds.id AND"                      \
        " t.host = builds.host AND t.repository = builds.repository AND t.tag NOT IN ('', '@')),"                \
        " EXISTS (SELECT 1 FROM builds a WHERE a.digest = builds.digest AND a.target = builds.target AND"        \
        " a.state IN ('queued', 'running'))"
#define LOG_COLUMN 20

static void set_number(json_t *object, const char *name, int64_t value) {
        if (value)
                json_object_set_new(object, name, json_integer(value));
}

static json_t *tags_of(const char *text) {
        json_t *tags = json_array();
        while (*text) {
                size_t size = strcspn(text, " ");
                json_array_append_new(tags, json_stringn(text, size));
                text += size + (text[size] == ' ');
        }
        return tags;
}

/* In whose name a build is cancelled; NULL: whoever asked for it. */
static const char *canceller(const struct hook_exchange *x) {
        return x->role < HOOK_ADMIN ? x->who : NULL;
}

/* What whoever asks may do to the build now, so that nobody is offered what would be refused. */
static json_t *may_json(const struct hook_exchange *x, const char *state, const char *requested_by, bool is_active,
                        bool has_failed) {
        bool is_over = strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
        json_t *may = json_array();
        if (x->role < HOOK_BUILDER)
                return may;
        if (!is_over && hook_queue_may_cancel(requested_by, canceller(x)))
                json_array_append_new(may, json_string("cancel"));
        bool waits_again = strcmp(state, "queued") == 0 && has_failed; /* trying it now is as good */
        if (waits_again || (is_over && strcmp(state, "done") != 0 && !is_active))
                json_array_append_new(may, json_string("retry"));
        return may;
}

/* Absent members are zero or empty ones. */
static json_t *build_json(const struct hook_exchange *x, sqlite3_stmt *row) {
        static const char *const texts[] = { NULL,     "host",  "repository", "digest", "platform",
                                             "target", "state", NULL,         "rule",   "requestedBy" };
        json_t *build = json_object();
        json_object_set_new(build, "id", json_integer(sqlite3_column_int64(row, 0)));
        for (int i = 0; i < (int) (sizeof texts / sizeof *texts); i++)
                if (texts[i])
                        json_object_set_new(build, texts[i], hook_json_text(hook_sql_text(row, i)));
        json_object_set_new(build, "priority", json_integer(sqlite3_column_int64(row, 7)));
        json_object_set_new(build, "tags", tags_of(hook_sql_text(row, 18)));
        json_object_set_new(build, "may",
                            may_json(x, hook_sql_text(row, 6), hook_sql_text(row, 9), sqlite3_column_int(row, 19),
                                     sqlite3_column_int64(row, 14) > 0));
        set_number(build, "created", sqlite3_column_int64(row, 10));
        set_number(build, "started", sqlite3_column_int64(row, 11));
        set_number(build, "finished", sqlite3_column_int64(row, 12));
        set_number(build, "notBefore", sqlite3_column_int64(row, 13));
        set_number(build, "attempts", sqlite3_column_int64(row, 14));
        set_number(build, "imageSize", sqlite3_column_int64(row, 16));
        if (hook_sql_text(row, 15)[0])
                json_object_set_new(build, "reason", hook_json_text(hook_sql_text(row, 15)));
        json_t *result = json_loads(hook_sql_text(row, 17), 0, NULL);
        if (result)
                json_object_set_new(build, "result", result);
        return build;
}

static void add_progress(const struct hook_exchange *x, json_t *build) {
        char line[HOOK_LINE_SIZE];
        int64_t id = json_integer_value(json_object_get(build, "id"));
        json_t *tasks = NULL;
        if (hook_scheduler_look(x->service->scheduler, id, NULL, line, &tasks) && line[0])
                json_object_set_new(build, "progress", hook_json_text(line));
        if (tasks)
                json_object_set_new(build, "tasks", tasks);
}

/* ---- list, get ---- */

static int list(struct hook_exchange *x, int64_t limit, int64_t before, json_t *builds, struct zp_error *err) {
        static const char *const states[] = { "queued", "running", "done", "failed", "cancelled", "superseded", NULL };
        const char *state, *repository = hook_query(x, "repository");
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_query_word(x, "state", states, &state, err);
        if (r < 0)
                return r;
        r = hook_sql_prepare(hook_db_begin_read(x->service->db), &row, err,
                             "SELECT " COLUMNS " FROM builds WHERE (?1 IS NULL OR state = ?1)"
                             " AND (?2 IS NULL OR host || '/' || repository = ?2) AND id < ?3"
                             " ORDER BY id DESC LIMIT ?4",
                             "ssii", state, repository, before, limit);
        while (r == 0 && (r = hook_sql_step(row, err)) == 1) {
                json_array_append_new(builds, build_json(x, row));
                r = 0;
        }
        hook_db_end_read(x->service->db);
        return r;
}

enum MHD_Result hook_api_list_builds(struct hook_exchange *x) {
        int64_t limit, before;
        struct zp_error err = { 0 };
        if (!hook_query_number(x, "limit", LIST_DEFAULT, &limit) || limit < 1 || limit > LIST_MAX)
                return hook_reply_error(x, 400, "limit: not a number from 1 to %d", LIST_MAX);
        if (!hook_query_number(x, "before", INT64_MAX, &before))
                return hook_reply_error(x, 400, "before: not a number");
        json_t *builds = json_array();
        if (list(x, limit, before, builds, &err) < 0) {
                json_decref(builds);
                return hook_reply_failed(x, &err);
        }
        size_t i;
        json_t *build;
        json_array_foreach(builds, i, build) add_progress(x, build);
        return hook_reply_json(x, 200, json_pack("{s:o}", "builds", builds));
}

static int get_build(struct hook_exchange *x, int64_t id, json_t **out, struct zp_error *err) {
        hook_autostmt sqlite3_stmt *row = NULL;
        int r = hook_sql_prepare(hook_db_begin_read(x->service->db), &row, err,
                                 "SELECT " COLUMNS ", log FROM builds WHERE id = ?1", "i", id);
        if (r == 0)
                r = hook_sql_step(row, err);
        if (r == 1) {
                *out = build_json(x, row);
                json_object_set_new(*out, "log", hook_json_text(hook_sql_text(row, LOG_COLUMN)));
        }
        hook_db_end_read(x->service->db);
        return r == 0 ? zp_error_set(err, ENOENT, "no build %lld", (long long) id) : r < 0 ? r : 0;
}

static enum MHD_Result reply_build(struct hook_exchange *x, int64_t id) {
        json_t *build = NULL;
        struct zp_error err = { 0 };
        zp_autobuffer struct zp_buffer log = { 0 };
        if (get_build(x, id, &build, &err) < 0)
                return hook_reply_failed(x, &err);
        if (hook_scheduler_look(x->service->scheduler, id, &log, NULL, NULL) && log.data)
                json_object_set_new(build, "log", hook_json_text(log.data));
        add_progress(x, build);
        return hook_reply_json(x, 200, build);
}

enum MHD_Result hook_api_get_build(struct hook_exchange *x) {
        int64_t id;
        return hook_argument_number(x, &id) ? reply_build(x, id)
                                            : hook_reply_error(x, 404, "no build '%s'", x->argument);
}

/* ---- cancel, retry ---- */

static void tell(struct hook_exchange *x, int64_t id) {
        char text[64];
        snprintf(text, sizeof text, "{\"id\": %lld}", (long long) id);
        hook_live_send(x->service->live, "build", text);
}

enum MHD_Result hook_api_cancel_build(struct hook_exchange *x) {
        struct hook_wish wish = { .now_ms = hook_now_ms(), .who = canceller(x) };
        struct zp_error err = { 0 };
        if (!hook_argument_number(x, &wish.id))
                return hook_reply_error(x, 404, "no build '%s'", x->argument);
        if (hook_db_promise(x->service->db, hook_queue_cancel, &wish, &err) < 0)
                return hook_reply_failed(x, &err);
        if (wish.is_running)
                hook_scheduler_cancel(x->service->scheduler, wish.id);
        hook_log(HOOK_LOG_INFO, "build %lld: cancelled by %s", (long long) wish.id, x->who);
        tell(x, wish.id);
        return reply_build(x, wish.id);
}

enum MHD_Result hook_api_retry_build(struct hook_exchange *x) {
        struct hook_wish wish = { .now_ms = hook_now_ms() };
        struct zp_error err = { 0 };
        if (!hook_argument_number(x, &wish.id))
                return hook_reply_error(x, 404, "no build '%s'", x->argument);
        if (hook_db_promise(x->service->db, hook_queue_retry, &wish, &err) < 0)
                return hook_reply_failed(x, &err);
        hook_log(HOOK_LOG_INFO, "build %lld: queued again by %s", (long long) wish.id, x->who);
        tell(x, wish.id);
        hook_scheduler_wake(x->service->scheduler);
        return reply_build(x, wish.id);
}

/* ---- create ---- */

/* What is not understood would be done otherwise than it was meant. */
static int check_wish(json_t *body, struct zp_error *err) {
        const char *name;
        json_t *value;
        json_object_foreach(body, name, value) {
                bool is_reference = strcmp(name, "reference") == 0, is_force = strcmp(name, "force") == 0;
                if (!is_reference && !is_force && strcmp(name, "auths") != 0)
                        return zp_error_set(err, EINVAL, "'%.64s' is none of: reference, force, auths", name);
                if (is_reference && !json_is_string(value))
                        return zp_error_set(err, EINVAL, "'reference' is not a string");
                if (is_force && !json_is_boolean(value))
                        return zp_error_set(err, EINVAL, "'force' is neither true nor false");
        }
        return json_object_get(body, "reference") ? 0 : zp_error_set(err, EINVAL, "'reference' is missing");
}

static int create(struct hook_exchange *x, json_t *body, struct hook_delivery *delivery, struct hook_events *events,
                  struct zp_error *err) {
        int r = check_wish(body, err);
        if (r == 0)
                r = hook_events_add_reference(events, json_string_value(json_object_get(body, "reference")), err);
        if (r < 0)
                return r;
        if (!hook_config_registry(x->config, events->items[0].host))
                return zp_error_set(err, EINVAL, "registry %s is not in the configuration", events->items[0].host);
        *delivery = (struct hook_delivery){ .events = events->items,
                                            .count = 1,
                                            .source = "api",
                                            .requested_by = x->who,
                                            .is_forced = json_is_true(json_object_get(body, "force")),
                                            .now_ms = hook_now_ms() };
        char *auths = NULL;
        if (json_object_get(body, "auths") && (r = hook_auths_read(json_object_get(body, "auths"), &auths, err)) < 0)
                return r;
        delivery->auths = auths;
        r = hook_db_promise(x->service->db, hook_queue_accept, delivery, err);
        zp_secret_free(auths);
        return r;
}

enum MHD_Result hook_api_create_build(struct hook_exchange *x) {
        struct zp_error err = { 0 };
        struct hook_delivery delivery;
        struct hook_events events = { 0 };
        json_t *body = NULL;
        int r = hook_body_json(x, &body, &err);
        if (r < 0)
                return hook_reply_failed(x, &err);
        r = create(x, body, &delivery, &events, &err);
        json_decref(body);
        hook_events_clear(&events);
        if (r < 0)
                return hook_reply_failed(x, &err);
        hook_deciders_wake(x->service->deciders);
        return hook_reply_json(x, 202, json_pack("{s:I}", "event", (json_int_t) delivery.last_id));
}
