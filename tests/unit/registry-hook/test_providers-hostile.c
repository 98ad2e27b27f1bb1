/* SPDX-License-Identifier: Apache-2.0
 *
 * Every provider's payloads, damaged in every way: the right status, and never an event from a bad one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>
#include <openssl/evp.h>

#include "corpus-fixture.h"
#include "registry-hook/providers/payload.h"

/* Payloads whose every field is mutated, and the fields that count: others may be anything. A '*' stands for every
 * element. */
static const struct {
        const char *payload, *fields;
} mutated[] = {
        { "distribution-push", "events events.* events.*.action events.*.id events.*.target events.*.target.repository "
                               "events.*.target.tag events.*.target.digest events.*.target.mediaType events.*.request "
                               "events.*.request.host events.*.request.useragent events.*.actor events.*.actor.name" },
        { "distribution-pull", "events events.* events.*.action" },
        { "distribution-delete",
          "events events.* events.*.action events.*.id events.*.target "
          "events.*.target.repository events.*.target.digest events.*.request "
          "events.*.request.host events.*.request.useragent events.*.actor events.*.actor.name" },
        { "harbor-push", "type operator event_data event_data.resources event_data.resources.* "
                         "event_data.resources.*.digest event_data.resources.*.tag event_data.resources.*.resource_url "
                         "event_data.repository event_data.repository.repo_full_name" },
        { "harbor-cloudevent", "type specversion operator id data data.resources data.resources.* "
                               "data.resources.*.digest data.resources.*.tag data.resources.*.resource_url "
                               "data.repository data.repository.repo_full_name" },
        { "harbor-pull", "type operator" },
        { "quay-push", "repository docker_url updated_tags updated_tags.*" },
        { "quay-old", "repository docker_url updated_tags updated_tags.latest" },
        { "docker-hub-push", "repository repository.repo_name push_data push_data.tag push_data.pusher" },
        { "github-package",
          "action sender sender.login package package.package_type package.name package.owner package.owner.login "
          "package.registry package.registry.url package.package_version package.package_version.version "
          "package.package_version.container_metadata package.package_version.container_metadata.tag "
          "package.package_version.container_metadata.tag.name package.package_version.container_metadata.tag.digest "
          "package.package_version.container_metadata.manifest "
          "package.package_version.container_metadata.manifest.digest "
          "package.package_version.container_metadata.manifest.media_type" },
        { "alibaba-push",
          "repository repository.repo_full_name repository.region push_data push_data.tag push_data.digest" },
        { "azure-push", "id action target target.repository target.tag target.digest target.mediaType request "
                        "request.host request.useragent" },
        { "azure-grid", "* *.eventType 0.data 0.data.id 0.data.action 0.data.target 0.data.target.repository "
                        "0.data.target.tag 0.data.target.digest 0.data.target.mediaType 0.data.request "
                        "0.data.request.host 0.data.request.useragent" },
        { "ecr-push", "id source detail-type account region detail detail.result detail.action-type "
                      "detail.repository-name detail.image-digest detail.image-tag detail.manifest-media-type "
                      "detail.artifact-media-type" },
        { "google-insert", "message message.data message.messageId" },
        { "jfrog-pushed", "domain event_type jpd_origin source data data.repo_key data.image_name data.tag "
                          "data.sha256" },
        { "nexus-created", "action initiator component component.format component.name component.version" },
        { "zot-updated", "name reference digest mediaType manifest actor actor.name request request.useragent" },
        { "generic-full", "image action id" },
        { "generic-digest", "image digest" },
};
#define MUTATED (sizeof mutated / sizeof *mutated)

static void receive(struct provider_request *request, const char *body, size_t size, struct hook_result *result) {
        struct hook_request sent = request->request;
        sent.body = body;
        sent.body_size = size;
        *result = (struct hook_result){ 0 };
        hook_provider_receive(&request->endpoint, &sent, result);
        assert_true(result->reason[0] != '\0');
        assert_true(result->status < 300 || (result->events.count == 0 && !result->answer[0]));
}

static void expect_refused(const char *name, struct provider_request *request, const char *body, size_t size,
                           unsigned status) {
        struct hook_result result;
        receive(request, body, size, &result);
        if (result.status != status)
                fail_msg("%s: %u (%s), not %u, to: %.*s", name, result.status, result.reason, status,
                         size > 2000 ? 2000 : (int) size, body);
        hook_events_clear(&result.events);
}

static void a_body_cut_at_any_byte_is_refused(void **state) {
        (void) state;
        static const char *const others[] = { "azure-validation", "azure-ping",  "github-ping",
                                              "nexus-asset",      "ecr-scan",    "ecr-sns-confirmation",
                                              "zot-created",      "jfrog-cache", "azure-grid-cloudevent",
                                              "quay-build",       "gitlab-push", "distribution-blob" };
        for (size_t i = 0; i < MUTATED + sizeof others / sizeof *others; i++) {
                const char *name = i < MUTATED ? mutated[i].payload : others[i - MUTATED];
                struct provider_request request;
                corpus_load(name, &request);
                for (size_t size = 0; size < request.request.body_size; size++) {
                        /* an exact copy, so that a sanitizer sees what is read beyond; the NUL is promised */
                        char *body = malloc(size + 1);
                        memcpy(body, request.request.body, size);
                        body[size] = '\0';
                        expect_refused(name, &request, body, size, 400);
                        free(body);
                }
                provider_request_clear(&request);
        }
}

static bool is_in(const char *fields, const char *path) {
        size_t size = strlen(path);
        for (const char *field = fields; *field;) {
                size_t length = strcspn(field, " ");
                if (length == size && memcmp(field, path, size) == 0)
                        return true;
                field += length + strspn(field + length, " ");
        }
        return false;
}

/* Whether `path` ("events.0.action") is in the list, as it is or with '*' for numbers. */
static bool is_listed(const char *fields, const char *path) {
        char generic[512] = "";
        size_t size = 0;
        for (const char *part = path; *part;) {
                size_t length = strcspn(part, ".");
                bool is_number = strspn(part, "0123456789") == length;
                size += (size_t) snprintf(generic + size, sizeof generic - size, "%s%.*s", size ? "." : "",
                                          is_number ? 1 : (int) length, is_number ? "*" : part);
                part += length + (part[length] == '.');
        }
        return is_in(fields, path) || is_in(fields, generic);
}

struct world {
        const char *name, *fields;
        struct provider_request request;
        json_t *root;
        struct hook_result original;
        unsigned refused, unchanged;
};

static bool weaker_text(const char *a, const char *b) {
        return !*a || strcmp(a, b) == 0;
}

/* Says nothing that the other does not. */
static bool is_weaker(const struct hook_event *a, const struct hook_event *b) {
        return a->kind == b->kind && strcmp(a->host, b->host) == 0 && strcmp(a->repository, b->repository) == 0 &&
               weaker_text(a->tag, b->tag) && (!a->has_digest || zp_digest_equal(&a->digest, &b->digest)) &&
               weaker_text(a->media_type, b->media_type) && weaker_text(a->id, b->id);
}

static bool are_weaker(const struct hook_events *a, const struct hook_events *b) {
        for (size_t i = 0; i < a->count; i++) {
                bool found = false;
                for (size_t j = 0; j < b->count; j++)
                        found |= is_weaker(&a->items[i], &b->items[j]);
                if (!found)
                        return false;
        }
        return true;
}

static void check_mutant(struct world *world, const char *path, json_t *value, bool is_null) {
        char *body = json_dumps(world->root, JSON_COMPACT | JSON_ENCODE_ANY),
             *shown = json_dumps(value, JSON_ENCODE_ANY);
        char now[4096], before[4096];
        struct hook_result result;
        receive(&world->request, body, strlen(body), &result);
        if (!is_listed(world->fields, path)) {
                corpus_events_text(&result.events, now);
                corpus_events_text(&world->original.events, before);
                if (result.status != world->original.status || strcmp(now, before) != 0)
                        fail_msg("%s: %s = %s: %u (%s), events:\n%s", world->name, path, shown, result.status,
                                 result.reason, now);
                world->unchanged++;
        } else if (is_null) {
                if (result.status != 400 && !are_weaker(&result.events, &world->original.events))
                        fail_msg("%s: %s = null: an event of its own", world->name, path);
        } else {
                if (result.status != 400)
                        fail_msg("%s: %s = %s: %u (%s)", world->name, path, shown, result.status, result.reason);
                world->refused++;
        }
        hook_events_clear(&result.events);
        free(body);
        free(shown);
}

static void put(json_t *parent, const char *key, size_t index, json_t *value) {
        int r = key ? json_object_set(parent, key, value) : json_array_set(parent, index, value);
        assert_int_equal(r, 0);
}

static void mutate_value(struct world *world, json_t *parent, const char *key, size_t index, const char *path) {
        json_t *value = key ? json_object_get(parent, key) : json_array_get(parent, index);
        json_t *others[] = { json_null(),      json_true(),   json_integer(17), json_real(1.5),
                             json_string("x"), json_object(), json_array() };
        json_incref(value);
        for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
                /* Of the same type is no wrong type; and both list and object are right for Quay's tags. */
                bool is_container = json_is_object(value) || json_is_array(value);
                bool is_quay =
                        strcmp(path, "updated_tags") == 0 && json_is_object(others[i]) | json_is_array(others[i]);
                if (json_typeof(others[i]) != json_typeof(value) && !(is_container && is_quay)) {
                        put(parent, key, index, others[i]);
                        check_mutant(world, path, others[i], i == 0);
                }
                json_decref(others[i]);
        }
        put(parent, key, index, value);
        json_decref(value);
}

static void mutate_all(struct world *world, json_t *parent, const char *path) {
        char below[512];
        const char *key;
        json_t *value;
        size_t i;
        void *next;
        json_object_foreach_safe(parent, next, key, value) {
                snprintf(below, sizeof below, "%s%s%s", path, *path ? "." : "", key);
                mutate_value(world, parent, key, 0, below);
                mutate_all(world, json_object_get(parent, key), below);
        }
        json_array_foreach(parent, i, value) {
                snprintf(below, sizeof below, "%s%s%zu", path, *path ? "." : "", i);
                mutate_value(world, parent, NULL, i, below);
                mutate_all(world, json_array_get(parent, i), below);
        }
}

static void a_value_of_a_wrong_type_is_refused_where_it_counts_and_else_makes_no_difference(void **state) {
        (void) state;
        for (size_t i = 0; i < MUTATED; i++) {
                struct world world = { .name = mutated[i].payload, .fields = mutated[i].fields };
                corpus_load(world.name, &world.request);
                const struct hook_request *request = &world.request.request;
                receive(&world.request, request->body, request->body_size, &world.original);
                world.root = json_loadb(request->body, request->body_size, 0, NULL);
                mutate_all(&world, world.root, "");
                assert_true(world.refused > 0);
                json_decref(world.root);
                hook_events_clear(&world.original.events);
                provider_request_clear(&world.request);
        }
}

static void send_google(struct provider_request *request, const char *message, struct hook_result *result) {
        char data[4096], body[8192];
        assert_true(strlen(message) < 3000);
        EVP_EncodeBlock((unsigned char *) data, (const unsigned char *) message, (int) strlen(message));
        snprintf(body, sizeof body, "{\"message\":{\"data\":\"%s\",\"messageId\":\"1\"}}", data);
        receive(request, body, strlen(body), result);
}

static void a_message_of_google_is_checked_as_strictly_as_its_wrapping(void **state) {
        (void) state;
        static const char *const bad[] = {
                "",
                "[]",
                "x",
                "{}",
                "{\"action\":1}",
                "{\"action\":\"INSERT\"}",
                "{\"action\":\"INSERT\",\"tag\":1,\"digest\":\"r.example/a@" A_DIGEST "\"}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\",\"digest\":1}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\",\"digest\":\"r.example/a:1\"}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\",\"digest\":\"r.example/b@" A_DIGEST "\"}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\",\"digest\":\"s.example/a@" A_DIGEST "\"}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/A:1\"}",
                "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\"",
                "{\"action\":\"INSERT\",\"action\":\"INSERT\",\"tag\":\"r.example/a:1\"}",
        };
        struct provider_request request;
        struct hook_result result;
        corpus_load("google-insert", &request);
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
                send_google(&request, bad[i], &result);
                if (result.status != 400)
                        fail_msg("%s: %u", bad[i], result.status);
        }
        send_google(&request, "{\"action\":\"INSERT\",\"tag\":\"r.example/a:1\"}", &result);
        assert_int_equal(result.status, 202);
        hook_events_clear(&result.events);
        static const char *const wrapped[] = { "eyJ9", "e30", "e30=\\n", "!!!!", "e30==", "e31=" };
        for (size_t i = 0; i < sizeof wrapped / sizeof *wrapped; i++) {
                char body[256];
                snprintf(body, sizeof body, "{\"message\":{\"data\":\"%s\"}}", wrapped[i]);
                expect_refused("google", &request, body, strlen(body), 400);
        }
        provider_request_clear(&request);
}

static void check_grammar(const struct hook_event *event) {
        char digest[ZP_DIGEST_TEXT_SIZE];
        const struct hook_event_text text = {
                .kind = event->kind,
                .host = event->host,
                .repository = event->repository,
                .tag = event->tag,
                .digest = event->has_digest ? zp_digest_text(&event->digest, digest) : NULL,
        };
        struct hook_events again = { 0 };
        assert_int_equal(hook_events_add(&again, &text, NULL), 0);
        assert_string_equal(again.items[0].repository, event->repository);
        assert_string_equal(again.items[0].host, event->host);
        hook_events_clear(&again);
}

static void put_strings(struct world *world, json_t *parent) {
        static const char *const hostile[] = {
                "",
                "../../etc/passwd",
                "a b",
                "a\nb",
                "a\x1b[31m",
                "\xc3\xa9",
                "UPPER",
                "-x",
                ":",
                "@",
                "x:y@z",
                "http://user:secret@169.254.169.254/latest",
                "file:///etc/passwd",
                "sha256:",
                "sha256:00",
                "sha256:CA978112CA1BBDCAFAC231B39A23DC4DA786EFF8147C4E72B9807785AFEE48BB",
                "sha256-ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
                "%s%n%999999d",
                "push",
        };
        const char *key;
        json_t *value;
        size_t i;
        void *next;
        char huge[3000];
        memset(huge, 'a', sizeof huge - 1);
        huge[sizeof huge - 1] = '\0';
        json_object_foreach_safe(parent, next, key, value) {
                if (!json_is_string(value)) {
                        put_strings(world, value);
                        continue;
                }
                json_incref(value);
                for (size_t j = 0; j <= sizeof hostile / sizeof *hostile; j++) {
                        json_t *other = json_string(j < sizeof hostile / sizeof *hostile ? hostile[j] : huge);
                        json_object_set_new(parent, key, other);
                        char *body = json_dumps(world->root, JSON_COMPACT);
                        struct hook_result result;
                        receive(&world->request, body, strlen(body), &result);
                        if (result.status != 200 && result.status != 202 && result.status != 400)
                                fail_msg("%s: %u to %s", world->name, result.status, body);
                        for (size_t k = 0; k < result.events.count; k++)
                                check_grammar(&result.events.items[k]);
                        for (const char *p = result.reason; *p; p++)
                                assert_true((unsigned char) *p >= ' ' && *p != 127);
                        hook_events_clear(&result.events);
                        free(body);
                }
                json_object_set_new(parent, key, value);
        }
        json_array_foreach(parent, i, value) put_strings(world, value);
}

static void hostile_strings_never_become_an_event_that_is_no_reference(void **state) {
        (void) state;
        for (size_t i = 0; i < MUTATED; i++) {
                struct world world = { .name = mutated[i].payload };
                corpus_load(world.name, &world.request);
                world.root = json_loadb(world.request.request.body, world.request.request.body_size, 0, NULL);
                put_strings(&world, world.root);
                json_decref(world.root);
                provider_request_clear(&world.request);
        }
}

static char *filled(const char *start, const char *rest, char fill, size_t size) {
        char *body = malloc(size + 1);
        size_t start_size = strlen(start), rest_size = strlen(rest);
        memset(body, fill, size);
        memcpy(body, start, start_size);
        memcpy(body + size - rest_size, rest, rest_size);
        body[size] = '\0';
        return body;
}

static void more_than_any_limit_allows_is_refused_whatever_it_is(void **state) {
        (void) state;
        const size_t size = HOOK_PAYLOAD_MAX + 1;
        for (size_t i = 0; i < MUTATED; i++) {
                struct provider_request request;
                corpus_load(mutated[i].payload, &request);
                char *bodies[] = {
                        filled("", request.request.body, ' ', size),
                        filled("", "", '[', size),
                        filled("{\"a\":\"", "\"}", 'x', size),
                };
                for (size_t j = 0; j < sizeof bodies / sizeof *bodies; j++) {
                        expect_refused(mutated[i].payload, &request, bodies[j], size, 413);
                        free(bodies[j]);
                }
                provider_request_clear(&request);
        }
}

static void what_json_parsers_disagree_about_is_refused(void **state) {
        (void) state;
        for (size_t i = 0; i < MUTATED; i++) {
                struct provider_request request;
                corpus_load(mutated[i].payload, &request);
                const char *body = request.request.body;
                size_t size = request.request.body_size;
                char other[20000], deep[400];
                const char *brace = strchr(body, '{'); /* of the first object */
                const char *quote = strchr(brace, '"');
                int key = (int) (strchr(quote + 1, '"') + 1 - quote);
                /* the first key twice */
                snprintf(other, sizeof other, "%.*s{%.*s:\"again\",%s", (int) (brace - body), body, key, quote,
                         brace + 1);
                expect_refused(mutated[i].payload, &request, other, strlen(other), 400);
                /* something behind, which may be a NUL */
                memcpy(other, body, size);
                memcpy(other + size, "\0{}", 4);
                expect_refused(mutated[i].payload, &request, other, size + 3, 400);
                expect_refused(mutated[i].payload, &request, other, size + 1, 400);
                memcpy(other + size, "{}", 3);
                expect_refused(mutated[i].payload, &request, other, size + 2, 400);
                /* a byte order mark, and nesting */
                snprintf(other, sizeof other, "\xef\xbb\xbf%s", body);
                expect_refused(mutated[i].payload, &request, other, strlen(other), 400);
                memset(deep, '[', sizeof deep);
                snprintf(other, sizeof other, "%.*s{\"deep\":%.*s,%s", (int) (brace - body), body, 200, deep,
                         brace + 1);
                expect_refused(mutated[i].payload, &request, other, strlen(other), 400);
                provider_request_clear(&request);
        }
}

static void more_events_than_fit_are_refused_and_as_many_as_fit_taken(void **state) {
        (void) state;
        struct provider_request request;
        corpus_load("quay-push", &request);
        json_t *root = json_loadb(request.request.body, request.request.body_size, 0, NULL), *tags = json_array();
        json_object_set_new(root, "updated_tags", tags);
        for (int i = 0; i <= HOOK_EVENTS_MAX; i++) {
                struct hook_result result;
                char *body = json_dumps(root, 0);
                if (i == HOOK_EVENTS_MAX) {
                        receive(&request, body, strlen(body), &result);
                        assert_int_equal(result.status, 202);
                        assert_int_equal(result.events.count, HOOK_EVENTS_MAX);
                        hook_events_clear(&result.events);
                }
                free(body);
                json_array_append_new(tags, json_sprintf("t%d", i));
        }
        char *body = json_dumps(root, 0);
        expect_refused("quay", &request, body, strlen(body), 413);
        free(body);
        json_decref(root);
        provider_request_clear(&request);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_body_cut_at_any_byte_is_refused),
                cmocka_unit_test(a_value_of_a_wrong_type_is_refused_where_it_counts_and_else_makes_no_difference),
                cmocka_unit_test(a_message_of_google_is_checked_as_strictly_as_its_wrapping),
                cmocka_unit_test(hostile_strings_never_become_an_event_that_is_no_reference),
                cmocka_unit_test(more_than_any_limit_allows_is_refused_whatever_it_is),
                cmocka_unit_test(what_json_parsers_disagree_about_is_refused),
                cmocka_unit_test(more_events_than_fit_are_refused_and_as_many_as_fit_taken),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
