/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/buffer.h"
#include "base/file.h"
#include "registry-hook/clock.h"
#include "registry-hook/queue.h"
#include "registry-hook/retention.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define INDEX "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define TARGET "docker://r.example/acme/web"

struct world {
        char directory[64];
        struct hook_db *db;
        int64_t now_ms;
};

static int make_world(void **state) {
        struct world *w = calloc(1, sizeof *w);
        strcpy(w->directory, "/tmp/zp-queue-XXXXXX");
        assert_non_null(mkdtemp(w->directory));
        w->now_ms = 1000000;
        assert_int_equal(hook_db_open(w->directory, &w->db, NULL), 0);
        *state = w;
        return 0;
}

static int end_world(void **state) {
        struct world *w = *state;
        if (w->db)
                hook_db_close(w->db);
        zp_remove_tree(AT_FDCWD, w->directory, NULL);
        free(w);
        return 0;
}

static void reopen(struct world *w) {
        hook_db_close(zp_steal(&w->db));
        assert_int_equal(hook_db_open(w->directory, &w->db, NULL), 0);
        assert_int_equal(hook_db_write(w->db, hook_queue_recover, NULL, NULL), 0);
}

static int64_t count(struct world *w, const char *sql) {
        int64_t number = -1;
        sqlite3 *db = hook_db_begin_read(w->db);
        assert_int_equal(hook_sql_number(db, &number, NULL, sql, ""), 0);
        hook_db_end_read(w->db);
        return number;
}

static struct hook_event push_to(const char *repository, const char *tag, const char *digest, const char *id) {
        struct hook_events events = { 0 };
        struct hook_event_text text = {
                .host = "r.example", .repository = repository, .tag = tag, .digest = digest, .id = id
        };
        assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        struct hook_event event = events.items[0];
        hook_events_clear(&events);
        return event;
}

static struct hook_event push(const char *tag, const char *digest, const char *id) {
        return push_to("acme/web", tag, digest, id);
}

static struct hook_delivery accept_as(struct world *w, struct hook_event event, const char *who, const char *auths) {
        struct hook_delivery delivery = {
                .events = &event, .count = 1, .source = "test", .requested_by = who, .auths = auths, .now_ms = w->now_ms
        };
        assert_int_equal(hook_db_write(w->db, hook_queue_accept, &delivery, NULL), 0);
        return delivery;
}

static struct hook_delivery accept_event(struct world *w, struct hook_event event) {
        return accept_as(w, event, "tester", NULL);
}

static int two(const void *context, const char *host) {
        (void) context;
        (void) host;
        return 2;
}

static bool next_beside(struct world *w, const struct hook_busy_event *busy, size_t busy_count,
                        struct hook_pending *out) {
        int64_t next;
        struct hook_busy all = { busy, busy_count, two, NULL };
        int r = hook_queue_next_event(hook_db_begin_read(w->db), w->now_ms, &all, out, &next, NULL);
        hook_db_end_read(w->db);
        assert_true(r >= 0);
        return r == 1;
}

static bool next_event(struct world *w, struct hook_pending *out) {
        return next_beside(w, NULL, 0, out);
}

/* Takes the next event and decides that it leads to one image. */
static struct hook_wanted decide(struct world *w, const char *digest, int priority) {
        struct hook_pending pending;
        struct hook_wanted wanted = {
                .platform = "linux/amd64", .target = TARGET, .rule = "web", .priority = priority
        };
        strcpy(wanted.digest, digest);
        assert_true(next_event(w, &pending));
        struct hook_verdict verdict = { .pending = &pending,
                                        .wanted = &wanted,
                                        .wanted_count = 1,
                                        .text = "marked",
                                        .tag_digest = pending.event.tag[0] ? digest : NULL,
                                        .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
        return wanted;
}

static bool start(struct world *w, struct hook_build *out) {
        struct hook_start s = { .now_ms = w->now_ms, .limit = two };
        assert_int_equal(hook_db_write(w->db, hook_queue_start, &s, NULL), 0);
        if (s.is_found)
                *out = s.build;
        return s.is_found;
}

static void end(struct world *w, const struct hook_build *build, enum hook_end_kind kind) {
        struct hook_end e = { .build = build,
                              .kind = kind,
                              .reason = "because",
                              .result = "{}",
                              .log = "line\n",
                              .artifact = A,
                              .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_end, &e, NULL), 0);
}

static void events_survive_the_end_of_the_process_and_are_decided_once(void **state) {
        struct world *w = *state;
        assert_int_equal(accept_event(w, push("1", A, "x")).stored, 1);
        reopen(w);
        assert_int_equal(decide(w, A, 0).outcome, HOOK_QUEUED);
        struct hook_pending pending;
        assert_false(next_event(w, &pending));
        reopen(w);
        assert_false(next_event(w, &pending));
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 1);
}

static void a_replayed_delivery_is_nothing_new(void **state) {
        struct world *w = *state;
        assert_int_equal(accept_event(w, push("1", A, "x")).stored, 1);
        decide(w, A, 0);
        struct hook_delivery again = accept_event(w, push("1", A, "x"));
        assert_int_equal(again.stored, 0);
        assert_int_equal(again.last_id, 0);
        assert_int_equal(accept_event(w, push("1", B, "x")).stored, 1); /* same id, other news */
}

static void one_image_is_built_once_however_many_events_name_it(void **state) {
        struct world *w = *state;
        for (int i = 0; i < 5; i++) {
                char id[8], tag[8];
                snprintf(id, sizeof id, "id%d", i);
                snprintf(tag, sizeof tag, "t%d", i);
                accept_event(w, push(tag, A, id));
                struct hook_wanted wanted = decide(w, A, i);
                assert_int_equal(wanted.outcome, i == 0 ? HOOK_QUEUED : HOOK_JOINED);
        }
        assert_int_equal(count(w, "SELECT count(*) FROM builds"), 1);
        assert_int_equal(count(w, "SELECT priority FROM builds"), 4);
        struct hook_build build;
        assert_true(start(w, &build));
        end(w, &build, HOOK_DONE);
        accept_event(w, push("late", A, "late"));
        assert_int_equal(decide(w, A, 0).outcome, HOOK_PUBLISHED);
        assert_int_equal(count(w, "SELECT count(*) FROM builds"), 1);
        /* a registry may tell of the digest first, and of the tag when the build is over */
        assert_int_equal(count(w, "SELECT count(*) FROM build_tags WHERE build = 1 AND tag = 'late'"), 1);
}

static void news_that_come_again_while_they_are_decided_are_decided_again(void **state) {
        struct world *w = *state;
        struct hook_pending pending;
        accept_event(w, push("latest", NULL, "1"));
        assert_true(next_event(w, &pending));
        accept_event(w, push("latest", NULL, "2"));
        struct hook_wanted wanted = { .digest = A, .platform = "linux/amd64", .target = TARGET, .rule = "web" };
        struct hook_verdict verdict = {
                .pending = &pending, .wanted = &wanted, .wanted_count = 1, .text = "old", .now_ms = w->now_ms
        };
        assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
        assert_int_equal(wanted.outcome, HOOK_QUEUED);
        /* whoever waits for the event is told nothing of what is not the last word */
        assert_int_equal(count(w, "SELECT (SELECT count(*) FROM decisions) + (SELECT count(*) FROM build_events)"), 0);
        assert_true(next_event(w, &pending));
        verdict.text = "new";
        strcpy(wanted.digest, B);
        assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
        assert_false(next_event(w, &pending));
        assert_int_equal(count(w, "SELECT count(*) FROM decisions WHERE text = 'new'"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM build_events"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM build_events, builds WHERE build = id AND digest = '" B "'"),
                         1);
}

static void postponed_events_wait_for_their_time(void **state) {
        struct world *w = *state;
        struct hook_pending pending;
        accept_event(w, push("1", A, NULL));
        assert_true(next_event(w, &pending));
        struct hook_postponed postponed = { &pending, w->now_ms + 5000, "registry is down" };
        assert_int_equal(hook_db_write(w->db, hook_queue_postpone, &postponed, NULL), 0);
        assert_false(next_event(w, &pending));
        w->now_ms += 5000;
        assert_true(next_event(w, &pending));
        assert_int_equal(pending.attempts, 1);
}

static void news_that_join_what_waits_in_vain_start_anew(void **state) {
        struct world *w = *state;
        struct hook_pending pending;
        accept_event(w, push("1", A, NULL));
        for (int i = 0; i < 3; i++) {
                assert_true(next_event(w, &pending));
                struct hook_postponed postponed = { &pending, w->now_ms += 5000, "not found" };
                assert_int_equal(hook_db_write(w->db, hook_queue_postpone, &postponed, NULL), 0);
        }
        w->now_ms -= 1;
        assert_false(next_event(w, &pending));
        struct hook_delivery again = accept_event(w, push("1", A, NULL));
        assert_int_equal(again.stored, 0);
        assert_int_not_equal(again.last_id, 0); /* news all the same: who decides is to be woken */
        assert_true(next_event(w, &pending));
        assert_int_equal(pending.attempts, 0);
}

static void higher_priority_first_then_the_older(void **state) {
        struct world *w = *state;
        static const char *const digests[] = {
                A, B, "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
        };
        static const int priorities[] = { 0, 7, 7 };
        struct hook_build build;
        for (int i = 0; i < 3; i++) {
                accept_event(w, push(NULL, digests[i], NULL));
                decide(w, digests[i], priorities[i]);
        }
        for (int i = 0; i < 3; i++) {
                assert_true(start(w, &build));
                assert_string_equal(build.digest, digests[(i + 1) % 3]);
                end(w, &build, HOOK_DONE);
        }
}

static void a_registry_at_its_limit_starts_nothing_more(void **state) {
        struct world *w = *state;
        struct hook_build build;
        for (int i = 0; i < 3; i++) {
                char digest[ZP_DIGEST_TEXT_SIZE];
                strcpy(digest, A);
                digest[10] = (char) ('0' + i);
                accept_event(w, push(NULL, digest, NULL));
                decide(w, digest, 0);
        }
        assert_true(start(w, &build));
        assert_true(start(w, &build));
        assert_false(start(w, &build));
}

static void a_failing_build_is_tried_again_ever_later_and_then_given_up(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        for (int i = 1; i <= QUEUE_ATTEMPTS_MAX; i++) {
                assert_true(start(w, &build));
                end(w, &build, HOOK_RETRY);
                assert_false(start(w, &build));
                w->now_ms += hook_queue_backoff_ms(i);
        }
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'failed' AND reason = 'because'"), 1);
        struct hook_wish wish = { .id = build.id, .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_retry, &wish, NULL), 0);
        assert_true(start(w, &build));
        assert_int_equal(hook_db_write(w->db, hook_queue_retry, &wish, NULL), -EBUSY);
}

static void waits_grow_to_an_hour_and_no_further(void **state) {
        (void) state;
        assert_int_equal(hook_queue_backoff_ms(1), 10000);
        assert_int_equal(hook_queue_backoff_ms(2), 20000);
        assert_int_equal(hook_queue_backoff_ms(1000), 3600000);
}

static void a_build_that_ran_when_the_service_died_is_taken_up_again(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        for (int i = 0; i < 20; i++) { /* however often: it is not the image's fault */
                assert_true(start(w, &build));
                assert_int_equal(build.attempts, 0);
                reopen(w);
        }
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 1);
}

static void a_tag_that_moves_on_supersedes_what_waits_for_its_sake_alone(void **state) {
        struct world *w = *state;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND digest = '" A "'"), 1);
        accept_event(w, push("v1", B, NULL));
        decide(w, B, 0);
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2); /* v1 still wants B */
}

static void a_tag_that_moves_to_what_no_rule_marks_leaves_nothing_behind(void **state) {
        struct world *w = *state;
        struct hook_pending pending;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        accept_event(w, push("v1", A, NULL));
        decide(w, A, 0);
        for (int i = 0; i < 2; i++) {
                accept_event(w, push(i == 0 ? "latest" : "v1", B, NULL));
                assert_true(next_event(w, &pending));
                struct hook_verdict verdict = {
                        .pending = &pending, .text = "not marked", .tag_digest = B, .now_ms = w->now_ms
                };
                assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
                assert_int_equal(count(w, "SELECT count(*) FROM tags WHERE platform <> ''"), 1 - i);
                assert_int_equal(count(w, "SELECT count(*) FROM tags WHERE platform = '' AND digest = '" B "'"), 1 + i);
                assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded'"), i);
                assert_int_equal(verdict.superseded_count, i);
                assert_int_equal(verdict.superseded[0], i);
        }
}

static void what_was_wished_for_by_digest_is_never_superseded(void **state) {
        struct world *w = *state;
        struct hook_event wish = push(NULL, A, NULL);
        wish.kind = HOOK_WISH;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        accept_event(w, wish);
        assert_int_equal(decide(w, A, 0).outcome, HOOK_JOINED);
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2);
}

static void what_somebody_asked_to_try_again_is_not_superseded_when_the_tag_moves_further(void **state) {
        struct world *w = *state;
        accept_event(w, push("latest", A, NULL));
        struct hook_wish wish = { .id = decide(w, A, 0).build, .now_ms = w->now_ms };
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(hook_db_write(w->db, hook_queue_retry, &wish, NULL), 0);
        accept_event(w, push("latest", INDEX, NULL));
        decide(w, INDEX, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued' AND digest = '" A "'"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND digest = '" B "'"), 1);
}

static void what_a_rule_that_is_gone_marked_is_decided_about_again(void **state) {
        struct world *w = *state;
        struct hook_event wish = push("2", A, NULL);
        struct hook_build build;
        struct hook_pending pending;
        wish.kind = HOOK_WISH;
        accept_as(w, wish, "tester", "auths");
        int64_t first = decide(w, A, 0).build;
        assert_true(start(w, &build));
        end(w, &build, HOOK_RULE_GONE);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND reason = 'because'"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM events WHERE requested_by = 'tester'"), 2);
        assert_int_equal(count(w, "SELECT count(*) FROM events WHERE tag = '2' AND digest = '' AND kind = 0"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM events WHERE tag = '' AND digest = '" A "' AND kind = 2"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM event_auths WHERE auths = 'auths'"), 2);
        assert_int_equal(count(w, "SELECT count(*) FROM build_auths"), 0);
        assert_int_not_equal(decide(w, A, 0).build, first);
        assert_int_equal(decide(w, A, 0).outcome, HOOK_JOINED);
        assert_false(next_event(w, &pending));
}

static void what_was_pushed_without_a_tag_and_has_no_rule_any_more_is_decided_about_by_its_digest(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push(NULL, A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        end(w, &build, HOOK_RULE_GONE);
        assert_int_equal(count(w, "SELECT count(*) FROM events WHERE tag = '' AND digest = '" A "' AND kind = 0"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM events"), 1);
}

/* Two run; the second has another tag by the time it fails. */
static void what_fails_when_its_tag_has_moved_on_is_not_tried_again(void **state) {
        struct world *w = *state;
        struct hook_build first, second;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &first));
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'running'"), 1);
        assert_true(start(w, &second));
        accept_event(w, push("latest", INDEX, NULL));
        decide(w, INDEX, 0);
        accept_event(w, push("v1", B, NULL));
        assert_int_equal(decide(w, B, 0).outcome, HOOK_JOINED);
        end(w, &first, HOOK_RETRY);
        end(w, &second, HOOK_RETRY);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND digest = '" A "'"
                                  " AND finished > 0 AND not_before = 0"),
                         1);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued' AND digest = '" B "'"), 1);
}

static void what_ran_when_the_service_died_and_has_no_tag_any_more_is_not_taken_up_again(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        reopen(w);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND digest = '" A "'"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 1);
}

static void what_succeeds_is_published_though_its_tag_has_moved_on(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        end(w, &build, HOOK_DONE);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE digest = '" A "'"), 1);
}

/* A registry that tells of one push twice, by digest and by tag, wants it for the tag's sake. */
static void what_was_pushed_by_digest_and_then_had_a_tag_is_superseded(void **state) {
        struct world *w = *state;
        accept_event(w, push(NULL, A, NULL));
        decide(w, A, 0);
        accept_event(w, push("latest", A, NULL));
        decide(w, A, 0);
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded'"), 1);
}

static int run_sql(sqlite3 *db, void *sql, struct zp_error *err) {
        return hook_sql_exec(db, sql, err);
}

/* ---- two repositories whose snapshots go to the same target ---- */

static enum hook_outcome tell(struct world *w, const char *repository, const char *tag, const char *digest) {
        accept_event(w, push_to(repository, tag, digest, NULL));
        return decide(w, digest, 0).outcome;
}

static void what_another_repositorys_tag_names_is_built_though_the_first_ones_moved_on(void **state) {
        struct world *w = *state;
        struct hook_build build;
        assert_int_equal(tell(w, "acme/dev", "latest", A), HOOK_QUEUED);
        assert_int_equal(tell(w, "acme/prod", "latest", A), HOOK_JOINED);
        tell(w, "acme/dev", "latest", B);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2);
        assert_true(start(w, &build));
        assert_string_equal(build.digest, A);
        assert_string_equal(build.repository, "acme/prod"); /* the other may have lost it by now */
        end(w, &build, HOOK_RETRY);
        tell(w, "acme/prod", "latest", B);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'superseded' AND digest = '" A "'"), 1);
}

static void what_another_repository_pushed_by_digest_is_built_though_the_tag_moved_on(void **state) {
        struct world *w = *state;
        tell(w, "acme/dev", "latest", A);
        assert_int_equal(tell(w, "acme/prod", NULL, A), HOOK_JOINED);
        tell(w, "acme/dev", "latest", B);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2);
}

static struct hook_config *parse_rules(const char *rules) {
        struct hook_config *config = NULL;
        zp_autofree char *text = zp_format("version: 1\nregistries: [{host: r.example}]\nrules: %s\n", rules);
        assert_int_equal(hook_config_parse(text, strlen(text), "hook.yaml", &config, NULL), 0);
        return config;
}

static void build_all(struct world *w) {
        struct hook_build build;
        while (start(w, &build))
                end(w, &build, HOOK_DONE);
}

static void a_snapshot_has_the_tags_of_all_repositories_that_wanted_it(void **state) {
        static const char is_tagged[] = "SELECT untagged = 0 FROM snapshots WHERE digest = '" A "'";
        struct world *w = *state;
        zp_auto(hook_config_drop) struct hook_config *config = parse_rules("[{name: web, repositories: '**'}]");
        tell(w, "acme/dev", "latest", A);
        build_all(w);
        assert_int_equal(tell(w, "acme/prod", "latest", A), HOOK_PUBLISHED);
        tell(w, "acme/dev", "latest", B);
        assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
        assert_int_equal(count(w, is_tagged), 1);
        tell(w, "acme/prod", "latest", B);
        assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
        assert_int_equal(count(w, is_tagged), 0);
        tell(w, "acme/prod", "latest", A);
        assert_int_equal(count(w, is_tagged), 1);
}

static size_t candidates(struct world *w, const struct hook_config *config) {
        json_t *list = NULL;
        assert_int_equal(hook_retention_list(w->db, config, hook_now_ms() + 10000, &list, NULL), 0);
        size_t size = json_array_size(list);
        json_decref(list);
        return size;
}

/* Of the first repository's two are newer, of the other's one. */
static void a_snapshot_stays_while_it_is_among_the_newest_of_any_repository_that_wanted_it(void **state) {
        struct world *w = *state;
        zp_auto(hook_config_drop) struct hook_config *config =
                parse_rules("[{name: web, repositories: '**', retention: {keep: 2, superseded: 1s}}]");
        tell(w, "acme/dev", "latest", A);
        tell(w, "acme/prod", "latest", A);
        build_all(w);
        w->now_ms++;
        tell(w, "acme/dev", "latest", B);
        tell(w, "acme/prod", "latest", B);
        build_all(w);
        w->now_ms++;
        tell(w, "acme/dev", "latest", INDEX);
        build_all(w);
        assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
        assert_int_equal(candidates(w, config), 0);
        tell(w, "acme/prod", "latest", INDEX);
        assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
        assert_int_equal(candidates(w, config), 1);
}

static void ignore(void *unused) {
        (void) unused;
}

/* What hook_retention_remove returns where `host` is the only registry of the configuration. */
static int remove_by(struct world *w, const char *host) {
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        zp_autofree char *text = zp_format("version: 1\nregistries: [{host: '%s', plain-http: true}]\n"
                                           "rules: [{name: web, repositories: '**', retention: {deleted: 1s}}]\n",
                                           host);
        assert_int_equal(hook_config_parse(text, strlen(text), "hook.yaml", &config, NULL), 0);
        return hook_retention_remove(w->db, config, NULL, w->now_ms, ignore, NULL, NULL);
}

static void a_snapshot_whose_image_is_seen_again_is_not_to_go_any_more(void **state) {
        struct world *w = *state;
        struct hook_build build;
        char noted[] = "UPDATE snapshots SET untagged = 7, deleted = 7", going[] = "UPDATE snapshots SET gone = -7";
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        end(w, &build, HOOK_DONE);
        assert_int_equal(hook_db_write(w->db, run_sql, noted, NULL), 0);
        accept_event(w, push(NULL, A, NULL));
        assert_int_equal(decide(w, A, 0).outcome, HOOK_PUBLISHED);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE untagged = 7 AND deleted = 0"), 1);
        accept_event(w, push("1", A, NULL));
        assert_int_equal(decide(w, A, 0).outcome, HOOK_PUBLISHED);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE untagged = 0"), 1);
        /* the service dies while a registry is asked to delete it: one that is not in the configuration any more is not
         * asked what came of that */
        assert_int_equal(hook_db_write(w->db, run_sql, going, NULL), 0);
        accept_event(w, push("1", A, NULL));
        assert_int_equal(decide(w, A, 0).outcome, HOOK_QUEUED);
        assert_false(start(w, &build)); /* what it publishes is not to be deleted with the old one */
        reopen(w);
        assert_false(start(w, &build));
        assert_int_equal(remove_by(w, "other.example"), 0);
        assert_true(start(w, &build));
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE gone = 0"), 1);
}

static void the_snapshot_of_a_platform_that_a_tags_new_image_has_no_more_has_no_tag_any_more(void **state) {
        static const char text[] =
                "version: 1\nregistries: [{host: r.example}]\nrules: [{name: web, repositories: '**'}]\n";
        struct world *w = *state;
        struct hook_pending pending;
        struct hook_build build;
        struct hook_wanted wanted[] = { { .platform = "linux/amd64", .target = TARGET, .rule = "web", .digest = A },
                                        { .platform = "linux/arm64", .target = TARGET, .rule = "web", .digest = B } };
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        assert_int_equal(hook_config_parse(text, strlen(text), "hook.yaml", &config, NULL), 0);
        for (size_t platforms = 2; platforms > 0; platforms--) {
                accept_event(w, push("latest", NULL, NULL));
                assert_true(next_event(w, &pending));
                struct hook_verdict verdict = { .pending = &pending,
                                                .wanted = wanted,
                                                .wanted_count = platforms,
                                                .text = "marked",
                                                .tag_digest = platforms == 2 ? INDEX : A,
                                                .now_ms = w->now_ms };
                assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
                while (start(w, &build))
                        end(w, &build, HOOK_DONE);
                assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
                assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE untagged = 0"), platforms);
                assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE digest = '" A "' AND untagged = 0"), 1);
        }
}

static void count_settled(void *count) {
        ++*(int *) count;
}

static void a_removal_whose_end_the_registry_does_not_tell_is_asked_about_again(void **state) {
        struct world *w = *state;
        struct hook_build build;
        char deleted[] = "UPDATE snapshots SET deleted = 7, target = 'docker://127.0.0.1:1/x'";
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        end(w, &build, HOOK_DONE);
        assert_int_equal(hook_db_write(w->db, run_sql, deleted, NULL), 0);
        for (int i = 0; i < 2; i++) { /* nobody listens there */
                assert_int_equal(remove_by(w, "127.0.0.1:1"), -EAGAIN);
                assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE gone < 0"), 1);
        }
        assert_int_equal(remove_by(w, "other.example"), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE gone = 0"), 1);
}

/* The registry of this one is not in the configuration, so that it stays in any case. */
static void a_snapshot_of_which_it_could_not_be_noted_that_it_stays_lets_builds_start_later(void **state) {
        static const char text[] = "version: 1\nregistries: [{host: other.example}]\n"
                                   "rules: [{name: web, repositories: '**', retention: {deleted: 1s}}]\n";
        struct world *w = *state;
        struct hook_build build;
        zp_auto(hook_config_drop) struct hook_config *config = NULL;
        char deleted[] = "UPDATE snapshots SET deleted = 7, target = 'docker://127.0.0.1:1/x';"
                         " CREATE TRIGGER full BEFORE UPDATE OF gone ON snapshots WHEN old.gone < 0"
                         " BEGIN SELECT RAISE(ABORT, 'the disk is full'); END",
             room[] = "DROP TRIGGER full";
        struct zp_error err = { 0 };
        int settled = 0;
        assert_int_equal(hook_config_parse(text, strlen(text), "hook.yaml", &config, NULL), 0);
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        end(w, &build, HOOK_DONE);
        assert_int_equal(hook_db_write(w->db, run_sql, deleted, NULL), 0);
        assert_true(hook_retention_remove(w->db, config, NULL, w->now_ms, count_settled, &settled, &err) < 0);
        assert_non_null(strstr(err.message, "the disk is full"));
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE gone < 0"), 1);
        assert_int_equal(hook_db_write(w->db, run_sql, room, NULL), 0);
        assert_int_equal(hook_retention_remove(w->db, config, NULL, w->now_ms, count_settled, &settled, NULL), 0);
        assert_int_equal(settled, 3); /* at each beginning, and when the second one had been tried */
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE gone = 0"), 1);
}

static void a_snapshot_whose_image_is_gone_is_not_among_those_kept_in_anothers_stead(void **state) {
        struct world *w = *state;
        char newest_is_gone[] =
                "UPDATE snapshots SET untagged = 7, deleted = CASE digest WHEN '" B "' THEN 7 ELSE 0 END";
        zp_auto(hook_config_drop) struct hook_config *config =
                parse_rules("[{name: web, repositories: '**', retention: {keep: 1, superseded: 1s, deleted: 1s}}]");
        tell(w, "acme/web", "latest", A);
        build_all(w);
        w->now_ms++;
        tell(w, "acme/web", "latest", B);
        build_all(w);
        assert_int_equal(hook_db_write(w->db, run_sql, newest_is_gone, NULL), 0);
        assert_int_equal(candidates(w, config), 1);
}

static void what_was_pushed_without_a_tag_is_never_superseded(void **state) {
        struct world *w = *state;
        accept_event(w, push(NULL, A, NULL));
        decide(w, A, 0);
        accept_event(w, push("latest", B, NULL));
        decide(w, B, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2);
}

static void cancelling_ends_what_waits_and_tells_of_what_runs(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("1", A, NULL));
        struct hook_wish wish = { .id = decide(w, A, 0).build, .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_cancel, &wish, NULL), 0);
        assert_false(wish.is_running);
        assert_false(start(w, &build));
        assert_int_equal(hook_db_write(w->db, hook_queue_retry, &wish, NULL), 0);
        assert_true(start(w, &build));
        assert_int_equal(hook_db_write(w->db, hook_queue_cancel, &wish, NULL), 0);
        assert_true(wish.is_running);
        end(w, &build, HOOK_CANCELLED);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'cancelled'"), 1);
        wish.id = 999;
        assert_int_equal(hook_db_write(w->db, hook_queue_cancel, &wish, NULL), -ENOENT);
}

static int cancel_as(struct world *w, const char *who, int64_t build) {
        struct hook_wish wish = { .id = build, .now_ms = w->now_ms, .who = who };
        return hook_db_write(w->db, hook_queue_cancel, &wish, NULL);
}

static void who_asked_with_others_cannot_cancel_and_an_admin_can(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_as(w, push("1", A, NULL), "harbor", NULL);
        int64_t first = decide(w, A, 0).build;
        assert_int_equal(cancel_as(w, "controller", first), -EBUSY);
        accept_as(w, push("2", A, NULL), "controller", NULL);
        assert_int_equal(decide(w, A, 0).outcome, HOOK_JOINED);
        assert_int_equal(cancel_as(w, "controller", first), -EBUSY);
        assert_int_equal(cancel_as(w, "harbor", first), -EBUSY);
        assert_true(start(w, &build));
        assert_int_equal(cancel_as(w, "controller", first), -EBUSY);
        end(w, &build, HOOK_RETRY);
        assert_int_equal(cancel_as(w, NULL, first), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'cancelled'"), 1);
}

static void who_asked_alone_can_cancel_however_often_he_asked(void **state) {
        struct world *w = *state;
        accept_as(w, push("1", A, NULL), "controller", NULL);
        accept_as(w, push("1", A, NULL), "controller", NULL);
        decide(w, A, 0);
        accept_as(w, push("2", A, NULL), "controller", NULL);
        int64_t build = decide(w, A, 0).build;
        assert_int_equal(cancel_as(w, "controller", build), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'cancelled'"), 1);
}

static void news_that_two_told_before_they_were_decided_are_of_both(void **state) {
        struct world *w = *state;
        accept_as(w, push("1", A, NULL), "controller", NULL);
        accept_as(w, push("1", A, NULL), "harbor", NULL);
        int64_t build = decide(w, A, 0).build;
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE requested_by = 'controller, harbor'"), 1);
        assert_int_equal(cancel_as(w, "controller", build), -EBUSY);
        /* one of them asks again for the same image, with a third */
        accept_as(w, push("2", A, NULL), "controller", NULL);
        decide(w, A, 0);
        accept_as(w, push("3", A, NULL), "controller", NULL);
        accept_as(w, push("3", A, NULL), "harbor", NULL);
        accept_as(w, push("3", A, NULL), "ci", NULL);
        decide(w, A, 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE requested_by = 'controller, harbor, ci'"), 1);
}

static void a_new_push_of_an_image_whose_build_failed_builds_it(void **state) {
        struct world *w = *state;
        struct hook_build build;
        accept_event(w, push("1", A, NULL));
        decide(w, A, 0);
        assert_true(start(w, &build));
        end(w, &build, HOOK_FAILED);
        accept_event(w, push("1", A, NULL));
        assert_int_equal(decide(w, A, 0).outcome, HOOK_QUEUED);
}

static void old_history_is_forgotten_and_what_waits_is_not(void **state) {
        struct world *w = *state;
        struct hook_build build;
        for (int i = 0; i < 4; i++) {
                char digest[ZP_DIGEST_TEXT_SIZE];
                strcpy(digest, A);
                digest[10] = (char) ('0' + i);
                accept_event(w, push(NULL, digest, NULL));
                decide(w, digest, 0);
                if (i == 3)
                        break;
                assert_true(start(w, &build));
                end(w, &build, HOOK_DONE);
        }
        struct hook_history history = { .now_ms = w->now_ms, .age_ms = 1000, .keep = 2 };
        assert_int_equal(hook_db_write(w->db, hook_queue_forget, &history, NULL), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds"), 3);
        history.now_ms += 2000;
        assert_int_equal(hook_db_write(w->db, hook_queue_forget, &history, NULL), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM builds"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots"), 3); /* what is published stays known */
}

static int set_limit(sqlite3 *db, void *sql, struct zp_error *err) {
        int64_t ignored;
        return hook_sql_number(db, &ignored, err, sql, "");
}

static void a_full_disk_refuses_events_and_loses_none(void **state) {
        struct world *w = *state;
        struct hook_event event = push("1", A, NULL);
        int64_t pages = count(w, "PRAGMA page_count");
        zp_autofree char *limit = zp_format("PRAGMA max_page_count = %lld", (long long) pages + 2);
        struct hook_delivery delivery = { .events = &event, .count = 1, .source = "t", .requested_by = "t" };
        assert_int_equal(hook_db_write(w->db, set_limit, limit, NULL), 0);
        int64_t accepted = 0;
        int r = 0;
        struct zp_error err = { 0 };
        for (int i = 0; i < 10000 && r == 0; i++) {
                snprintf(event.tag, sizeof event.tag, "t%d", i);
                r = hook_db_write(w->db, hook_queue_accept, &delivery, &err);
                accepted += r == 0;
        }
        assert_int_equal(r, -ENOSPC);
        assert_true(accepted > 0);
        assert_int_equal(count(w, "SELECT count(*) FROM events"), accepted);
        char free_again[] = "PRAGMA max_page_count = 100000";
        assert_int_equal(hook_db_write(w->db, set_limit, free_again, NULL), 0);
        assert_int_equal(hook_db_write(w->db, hook_queue_accept, &delivery, NULL), 0);
}

static void a_second_service_on_the_same_state_is_refused(void **state) {
        struct world *w = *state;
        struct hook_db *second = NULL;
        assert_int_equal(hook_db_open(w->directory, &second, NULL), -EBUSY);
}

/* ---- credentials ---- */

static char *auths_of(struct world *w, int (*find)(sqlite3 *, int64_t, char **, struct zp_error *), int64_t id) {
        char *text = NULL;
        assert_int_equal(find(hook_db_begin_read(w->db), id, &text, NULL), 0);
        hook_db_end_read(w->db);
        return text;
}

static void credentials_are_kept_until_the_build_is_over(void **state) {
        struct world *w = *state;
        struct hook_event event = push("latest", "", "");
        struct hook_delivery delivery = { .events = &event,
                                          .count = 1,
                                          .source = "api",
                                          .requested_by = "tester",
                                          .auths = "{\"auths\":{}}",
                                          .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_accept, &delivery, NULL), 0);
        struct hook_pending pending;
        assert_true(next_event(w, &pending));
        zp_autofree char *first = auths_of(w, hook_queue_event_auths, pending.id);
        assert_string_equal(first, delivery.auths);
        struct hook_wanted wanted = { .digest = A, .platform = "linux/amd64", .target = TARGET, .rule = "r" };
        struct hook_verdict verdict = {
                .pending = &pending, .wanted = &wanted, .wanted_count = 1, .text = "", .now_ms = w->now_ms
        };
        assert_int_equal(hook_db_write(w->db, hook_queue_decide, &verdict, NULL), 0);
        assert_null(auths_of(w, hook_queue_event_auths, pending.id));
        reopen(w);
        zp_autofree char *second = auths_of(w, hook_queue_build_auths, wanted.build);
        assert_string_equal(second, delivery.auths);
        struct hook_start start = { .now_ms = w->now_ms, .limit = two };
        assert_int_equal(hook_db_write(w->db, hook_queue_start, &start, NULL), 0);
        struct hook_end end = { .build = &start.build,
                                .kind = HOOK_RETRY,
                                .reason = "",
                                .result = "",
                                .log = "",
                                .artifact = "",
                                .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_end, &end, NULL), 0);
        zp_autofree char *third = auths_of(w, hook_queue_build_auths, wanted.build);
        assert_non_null(third);
        struct hook_wish wish = { .id = wanted.build, .now_ms = w->now_ms };
        assert_int_equal(hook_db_write(w->db, hook_queue_cancel, &wish, NULL), 0);
        assert_null(auths_of(w, hook_queue_build_auths, wanted.build));
        assert_int_equal(count(w, "SELECT count(*) FROM event_auths"), 0);
}

static void the_first_wishs_credentials_stay_when_others_join_its_build(void **state) {
        struct world *w = *state;
        accept_as(w, push("1", A, NULL), "tester", "first");
        accept_as(w, push("1", A, NULL), "tester", "second");
        int64_t build = decide(w, A, 0).build;
        zp_autofree char *before = auths_of(w, hook_queue_build_auths, build);
        assert_string_equal(before, "first");
        accept_as(w, push("2", A, NULL), "tester", "third");
        assert_int_equal(decide(w, A, 0).outcome, HOOK_JOINED);
        zp_autofree char *after = auths_of(w, hook_queue_build_auths, build);
        assert_string_equal(after, "first");
}

static struct hook_event push_at(const char *host, const char *tag) {
        struct hook_events events = { 0 };
        struct hook_event_text text = { .host = host, .repository = "app", .tag = tag };
        assert_int_equal(hook_events_add(&events, &text, NULL), 0);
        struct hook_event event = events.items[0];
        hook_events_clear(&events);
        return event;
}

static void a_registry_with_much_news_does_not_keep_the_others_news_waiting(void **state) {
        struct world *w = *state;
        static const char *const order[] = { "hung.example 1", "hung.example 2", "a.example 1", "z.example 1" };
        struct hook_busy_event busy[4];
        struct hook_pending p;
        for (int i = 1; i <= 4; i++)
                accept_event(w, push_at("hung.example", (const char[2]){ (char) ('0' + i) }));
        accept_event(w, push_at("a.example", "1"));
        accept_event(w, push_at("z.example", "1"));
        for (size_t i = 0; i < 4; i++) { /* two of one at a time, and the oldest of all first */
                char name[HOOK_HOST_SIZE + HOOK_TAG_SIZE];
                assert_true(next_beside(w, busy, i, &p));
                busy[i].id = p.id;
                strcpy(busy[i].host, p.event.host);
                snprintf(name, sizeof name, "%s %s", p.event.host, p.event.tag);
                assert_string_equal(name, order[i]);
        }
        assert_false(next_beside(w, busy, 4, &p));
        assert_true(next_beside(w, busy + 1, 3, &p));
        assert_string_equal(p.event.host, "hung.example");
        assert_string_equal(p.event.tag, "1"); /* busy no more, and not decided */
}

static int none_of_hung(const void *context, const char *host) {
        (void) context;
        return strcmp(host, "hung.example") == 0 ? 0 : 2;
}

static void a_registry_of_whose_news_none_is_to_be_looked_at_waits(void **state) {
        struct world *w = *state;
        struct hook_busy nothing = { NULL, 0, none_of_hung, NULL };
        struct hook_pending p;
        int64_t next;
        accept_event(w, push_at("hung.example", "1"));
        for (int news = 0; news < 2; news++) {
                int r = hook_queue_next_event(hook_db_begin_read(w->db), w->now_ms, &nothing, &p, &next, NULL);
                hook_db_end_read(w->db);
                assert_int_equal(r, news);
                accept_event(w, push_at("z.example", "1"));
        }
        assert_string_equal(p.event.host, "z.example");
}

/* However many news come, more than can be looked at. */
static void what_waits_for_another_look_has_its_turn_before_later_news(void **state) {
        struct world *w = *state;
        struct hook_pending first, next;
        accept_event(w, push("1", A, NULL));
        assert_true(next_event(w, &first));
        struct hook_postponed postponed = { &first, w->now_ms + 1000, "not there yet" };
        assert_int_equal(hook_db_write(w->db, hook_queue_postpone, &postponed, NULL), 0);
        w->now_ms += 2000;
        accept_event(w, push("2", B, NULL));
        assert_true(next_event(w, &next));
        assert_int_equal(next.id, first.id);
}

static void credentials_that_were_of_no_use_are_replaced_by_later_ones(void **state) {
        struct world *w = *state;
        struct hook_pending pending;
        accept_as(w, push("1", "", NULL), "tester", "first");
        assert_true(next_event(w, &pending));
        struct hook_postponed postponed = { .pending = &pending, .not_before_ms = w->now_ms, .reason = "denied" };
        assert_int_equal(hook_db_write(w->db, hook_queue_postpone, &postponed, NULL), 0);
        accept_as(w, push("1", "", NULL), "tester", "second");
        zp_autofree char *found = auths_of(w, hook_queue_event_auths, pending.id);
        assert_string_equal(found, "second");
}

#define TABLES_OF_3                                                                                                    \
        "DROP INDEX events_of; DROP TABLE origins; DROP TABLE build_tags; CREATE TABLE build_tags (build INTEGER NOT " \
        "NULL REFERENCES builds"                                                                                       \
        " ON DELETE CASCADE, tag TEXT NOT NULL, PRIMARY KEY (build, tag)) STRICT, WITHOUT ROWID;"                      \
        "ALTER TABLE builds ADD COLUMN had_tags INTEGER NOT NULL DEFAULT 0;"
#define COLUMNS_OF_3_GONE "ALTER TABLE profiles DROP COLUMN is_partial; ALTER TABLE decisions DROP COLUMN problem;"

static int make_version_1(sqlite3 *db, void *unused, struct zp_error *err) {
        (void) unused;
        return hook_sql_exec(
                db,
                TABLES_OF_3
                "DROP TRIGGER builds_over; DROP TABLE build_auths; DROP TABLE event_auths;" COLUMNS_OF_3_GONE
                "PRAGMA user_version = 1",
                err);
}

static void a_database_of_version_1_is_taken_on(void **state) {
        struct world *w = *state;
        accept_event(w, push("latest", "", ""));
        assert_int_equal(hook_db_write(w->db, make_version_1, NULL, NULL), 0);
        reopen(w);
        assert_int_equal(count(w, "PRAGMA user_version"), 5);
        assert_int_equal(count(w, "SELECT count(*) FROM events"), 1);
        assert_int_equal(count(w, "SELECT count(*) FROM build_auths"), 0);
}

static int make_version_2(sqlite3 *db, void *unused, struct zp_error *err) {
        (void) unused;
        return hook_sql_exec(db,
                             TABLES_OF_3 "INSERT INTO profiles (repository, digest, profile, received)"
                                         " VALUES ('r', 'd', '/a', 1);" COLUMNS_OF_3_GONE "PRAGMA user_version = 2",
                             err);
}

static void profiles_of_version_2_are_whole_ones(void **state) {
        struct world *w = *state;
        assert_int_equal(hook_db_write(w->db, make_version_2, NULL, NULL), 0);
        reopen(w);
        assert_int_equal(count(w, "PRAGMA user_version"), 5);
        assert_int_equal(count(w, "SELECT count(*) FROM profiles WHERE NOT is_partial"), 1);
}

/* Of a database that does not tell what repositories share; the tags say. */
static void builds_and_snapshots_of_version_3_are_of_all_repositories_whose_tags_name_them(void **state) {
        struct world *w = *state;
        zp_auto(hook_config_drop) struct hook_config *config = parse_rules("[{name: web, repositories: '**'}]");
        char version_3[] = TABLES_OF_3 "INSERT INTO build_tags VALUES (2, 'latest'); PRAGMA user_version = 3;"
                                       "UPDATE builds SET had_tags = 1 WHERE id = 2";
        tell(w, "acme/dev", "latest", A);
        build_all(w);
        tell(w, "acme/prod", "latest", A);
        tell(w, "acme/dev", "latest", B);
        tell(w, "acme/prod", "v1", B);
        tell(w, "acme/web", NULL, INDEX);
        assert_int_equal(hook_db_write(w->db, run_sql, version_3, NULL), 0);
        reopen(w);
        assert_int_equal(count(w, "PRAGMA user_version"), 5);
        assert_int_equal(hook_retention_survey(w->db, config, NULL, NULL), 0);
        assert_int_equal(count(w, "SELECT count(*) FROM snapshots WHERE untagged = 0"), 1);
        tell(w, "acme/dev", "latest", A);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 2);
        tell(w, "acme/prod", "v1", A);
        assert_int_equal(count(w, "SELECT count(*) FROM builds WHERE state = 'queued'"), 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_world, end_world)
        const struct CMUnitTest tests[] = {
                TEST(events_survive_the_end_of_the_process_and_are_decided_once),
                TEST(a_replayed_delivery_is_nothing_new),
                TEST(one_image_is_built_once_however_many_events_name_it),
                TEST(news_that_come_again_while_they_are_decided_are_decided_again),
                TEST(postponed_events_wait_for_their_time),
                TEST(news_that_join_what_waits_in_vain_start_anew),
                TEST(higher_priority_first_then_the_older),
                TEST(a_registry_at_its_limit_starts_nothing_more),
                TEST(a_failing_build_is_tried_again_ever_later_and_then_given_up),
                TEST(waits_grow_to_an_hour_and_no_further),
                TEST(a_build_that_ran_when_the_service_died_is_taken_up_again),
                TEST(a_tag_that_moves_on_supersedes_what_waits_for_its_sake_alone),
                TEST(a_tag_that_moves_to_what_no_rule_marks_leaves_nothing_behind),
                TEST(what_was_wished_for_by_digest_is_never_superseded),
                TEST(what_was_pushed_by_digest_and_then_had_a_tag_is_superseded),
                TEST(what_somebody_asked_to_try_again_is_not_superseded_when_the_tag_moves_further),
                TEST(what_a_rule_that_is_gone_marked_is_decided_about_again),
                TEST(what_was_pushed_without_a_tag_and_has_no_rule_any_more_is_decided_about_by_its_digest),
                TEST(what_fails_when_its_tag_has_moved_on_is_not_tried_again),
                TEST(what_ran_when_the_service_died_and_has_no_tag_any_more_is_not_taken_up_again),
                TEST(what_succeeds_is_published_though_its_tag_has_moved_on),
                TEST(what_another_repositorys_tag_names_is_built_though_the_first_ones_moved_on),
                TEST(what_another_repository_pushed_by_digest_is_built_though_the_tag_moved_on),
                TEST(a_snapshot_has_the_tags_of_all_repositories_that_wanted_it),
                TEST(a_snapshot_stays_while_it_is_among_the_newest_of_any_repository_that_wanted_it),
                TEST(a_snapshot_whose_image_is_seen_again_is_not_to_go_any_more),
                TEST(the_snapshot_of_a_platform_that_a_tags_new_image_has_no_more_has_no_tag_any_more),
                TEST(a_snapshot_of_which_it_could_not_be_noted_that_it_stays_lets_builds_start_later),
                TEST(a_removal_whose_end_the_registry_does_not_tell_is_asked_about_again),
                TEST(a_snapshot_whose_image_is_gone_is_not_among_those_kept_in_anothers_stead),
                TEST(what_was_pushed_without_a_tag_is_never_superseded),
                TEST(cancelling_ends_what_waits_and_tells_of_what_runs),
                TEST(who_asked_with_others_cannot_cancel_and_an_admin_can),
                TEST(who_asked_alone_can_cancel_however_often_he_asked),
                TEST(news_that_two_told_before_they_were_decided_are_of_both),
                TEST(a_new_push_of_an_image_whose_build_failed_builds_it),
                TEST(old_history_is_forgotten_and_what_waits_is_not),
                TEST(a_full_disk_refuses_events_and_loses_none),
                TEST(a_second_service_on_the_same_state_is_refused),
                TEST(credentials_are_kept_until_the_build_is_over),
                TEST(the_first_wishs_credentials_stay_when_others_join_its_build),
                TEST(a_registry_with_much_news_does_not_keep_the_others_news_waiting),
                TEST(a_registry_of_whose_news_none_is_to_be_looked_at_waits),
                TEST(what_waits_for_another_look_has_its_turn_before_later_news),
                TEST(credentials_that_were_of_no_use_are_replaced_by_later_ones),
                TEST(a_database_of_version_1_is_taken_on),
                TEST(profiles_of_version_2_are_whole_ones),
                TEST(builds_and_snapshots_of_version_3_are_of_all_repositories_whose_tags_name_them),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
