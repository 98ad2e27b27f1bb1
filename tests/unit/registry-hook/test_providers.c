/* SPDX-License-Identifier: Apache-2.0
 *
 * Every provider's payloads, structured as documented, and what is to come of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#include "corpus-fixture.h"

#define GITHUB_ID "72d3162e-cc78-11e3-81ab-4c9367dc0958"
#define ECR_ID "13cde686-328b-6117-af20-0e5566167482"
#define NEXUS_ID "7f4a6dde-5c68-4999-bcc0-a62f3fb8ae48"
#define ZOT_ID "5d1b5d2e-8d5c-4a53-9c3f-0a4b7c8d9e0f"
#define GOOGLE "us-east1-docker.pkg.dev/acme-proj/repo/web"

static const struct {
        const char *name, *events, *reason; /* reason: for those without events */
} payloads[] = {
        { "alibaba-documented", "push registry.cn-hangzhou.aliyuncs.com/namespace/repotest:latest@" A_DIGEST " \n" },
        { "alibaba-enterprise", "push acme-registry.cn-hangzhou.cr.aliyuncs.com/acme/web:latest@" A_DIGEST " \n" },
        { "alibaba-push", "push registry.cn-hangzhou.aliyuncs.com/acme/web:latest@" A_DIGEST " \n" },
        { "azure-chart", "", "chart_push" },
        { "azure-delete", "delete acme.azurecr.io/web@" A_DIGEST " az-1\n" },
        { "azure-grid", "push acme.azurecr.io/web:v1@" A_DIGEST " az-1\n" },
        { "azure-grid-cloudevent", "delete acme.azurecr.io/web@" A_DIGEST " az-1\n" },
        { "azure-ping", "", "ping" },
        { "azure-push", "push acme.azurecr.io/web:v1@" A_DIGEST " az-1\n" },
        { "azure-validation", "", "handshake answered" },
        { "distribution-batch", "push registry.example:5000/acme/web@" A_DIGEST " e-9\n"
                                "push registry.example:5000/acme/web:2.0@" C_DIGEST " e-10\n" },
        { "distribution-blob", "", "not an image: application/octet-stream" },
        { "distribution-delete", "delete registry.example:5000/acme/web@" A_DIGEST " e-6\n" },
        { "distribution-delete-tag", "delete registry.example:5000/acme/web:1.0 e-7\n" },
        { "distribution-mount", "", "mount" },
        { "distribution-own",
          "push registry.example:5000/acme/web:sha256-ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9"
          "807785afee48bb@" B_DIGEST " e-13\n" },
        { "distribution-pull", "", "pull" },
        { "distribution-push", "push registry.example:5000/acme/web:1.0@" A_DIGEST " e-1\n" },
        { "distribution-sha512", "", "a digest that is not SHA-256" },
        { "distribution-untagged", "push registry.example:5000/acme/web@" A_DIGEST " e-2\n" },
        { "docker-hub-push", "push docker.io/acme/web:1.0 \n" },
        { "ecr-china",
          "push 123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn/acme/web:latest@" A_DIGEST " " ECR_ID "\n" },
        { "ecr-delete",
          "delete 123456789012.dkr.ecr.us-west-2.amazonaws.com/acme/web:latest@" A_DIGEST " " ECR_ID "\n" },
        { "ecr-failure", "", "PUSH: FAILURE" },
        { "ecr-own", "", "not an image: application/vnd.zeropull.snapshot.v1" },
        { "ecr-push", "push 123456789012.dkr.ecr.us-west-2.amazonaws.com/acme/web:latest@" A_DIGEST " " ECR_ID "\n" },
        { "ecr-scan", "", "aws.ecr: ECR Image Scan" },
        { "ecr-sns-confirmation", "", "through SNS: not confirmed; use an EventBridge API destination" },
        { "ecr-untagged", "push 123456789012.dkr.ecr.us-west-2.amazonaws.com/acme/web@" A_DIGEST " " ECR_ID "\n" },
        { "generic-delete", "delete registry.example/acme/web:1.0 \n" },
        { "generic-digest", "push localhost:5000/web:1.0@" B_DIGEST " \n" },
        { "generic-full", "push docker.io/acme/web:1.0@" A_DIGEST " pipeline-77\n" },
        { "generic-plain", "push registry.example/acme/web:1.0 \n" },
        { "github-npm", "", "a package of type npm" },
        { "github-package", "push ghcr.io/acmecorp/web:1.2@" A_DIGEST " " GITHUB_ID "\n" },
        { "github-ping", "", "ping" },
        { "github-registry-package", "push ghcr.io/acmecorp/web:1.2@" A_DIGEST " " GITHUB_ID "\n" },
        { "github-untagged", "push ghcr.io/acmecorp/web@" A_DIGEST " " GITHUB_ID "\n" },
        { "gitlab-push", "push registry.gitlab.example/group/sub/project/web:main@" A_DIGEST " g-1\n" },
        { "google-delete", "delete " GOOGLE ":1.1 340384930238\n" },
        { "google-insert", "push " GOOGLE ":1.1@" A_DIGEST " 340384930238\n" },
        { "google-untagged", "push " GOOGLE "@" A_DIGEST " 340384930238\n" },
        { "harbor-cloudevent", "push harbor.example:8443/library/alpine:3.8@" A_DIGEST " ce-1\n"
                               "push harbor.example:8443/library/alpine:3.9@" B_DIGEST " ce-1/1\n" },
        { "harbor-cloudevent-delete", "delete harbor.example:8443/library/alpine:3.8@" A_DIGEST " ce-2\n" },
        { "harbor-delete", "delete harbor.example:8443/library/alpine:3.8@" A_DIGEST " \n" },
        { "harbor-pull", "", "PULL_ARTIFACT" },
        { "harbor-push", "push harbor.example:8443/library/alpine:3.8@" A_DIGEST " \n" },
        { "harbor-untagged", "push harbor.example:8443/library/alpine@" A_DIGEST " \n" },
        { "jfrog-cache", "", "a remote repository's cache: docker-remote-cache" },
        { "jfrog-deleted", "delete acme.jfrog.example/docker-local/web/app:1.0@" A_DIGEST " \n" },
        { "jfrog-deployed", "", "artifact: deployed" },
        { "jfrog-promoted", "push acme.jfrog.example/docker-prod/web/app:1.0@" A_DIGEST " \n" },
        { "jfrog-pushed", "push acme.jfrog.example/docker-local/web/app:1.0@" A_DIGEST " \n" },
        { "jfrog-subdomain", "push docker-local.jfrog.example/web/app:1.0@" A_DIGEST " \n" },
        { "jfrog-untagged", "push acme.jfrog.example/docker-local/web/app@" A_DIGEST " \n" },
        { "nexus-asset", "", "rm:repository:asset" },
        { "nexus-created", "push nexus.example:8082/app/web:1.0 " NEXUS_ID "\n" },
        { "nexus-deleted", "delete nexus.example:8082/app/web:1.0 " NEXUS_ID "\n" },
        { "nexus-maven", "", "maven2: CREATED" },
        { "nexus-raw", "", "raw: CREATED" },
        { "nexus-untagged", "push nexus.example:8082/app/web@" A_DIGEST " " NEXUS_ID "\n" },
        { "quay-build", "", "no tags were pushed" },
        { "quay-old", "push quay.io/acme/web:latest \n" },
        { "quay-push", "push quay.io/acme/web:latest \npush quay.io/acme/web:1.0 \n" },
        { "zot-created", "", "zotregistry.repository.created" },
        { "zot-deleted", "delete zot.example:5000/golang:1.20@" A_DIGEST " " ZOT_ID "\n" },
        { "zot-own", "", "our own artifact" },
        { "zot-untagged", "push zot.example:5000/golang@" A_DIGEST " " ZOT_ID "\n" },
        { "zot-updated", "push zot.example:5000/golang:1.20@" A_DIGEST " " ZOT_ID "\n" },
};
#define PAYLOADS (sizeof payloads / sizeof *payloads)

static void receive(struct provider_request *request, struct hook_result *result) {
        *result = (struct hook_result){ 0 };
        hook_provider_receive(&request->endpoint, &request->request, result);
}

static void expect(const char *name, const char *events, const char *reason, struct provider_request *request) {
        struct hook_result result;
        char text[4096];
        receive(request, &result);
        if (result.status != (*events ? 202 : 200))
                fail_msg("%s: %u: %s", name, result.status, result.reason);
        if (strcmp(corpus_events_text(&result.events, text), events) != 0)
                fail_msg("%s: expected\n%sgot\n%s", name, events, text);
        if (!*events && strcmp(result.reason, reason) != 0)
                fail_msg("%s: expected '%s', got '%s'", name, reason, result.reason);
        hook_events_clear(&result.events);
}

static void documented_payloads_give_their_events_and_repeated_ones_the_same(void **state) {
        (void) state;
        for (size_t i = 0; i < PAYLOADS; i++) {
                struct provider_request request;
                corpus_load(payloads[i].name, &request);
                for (int repeat = 0; repeat < 2; repeat++)
                        expect(payloads[i].name, payloads[i].events, payloads[i].reason, &request);
                provider_request_clear(&request);
        }
}

static bool is_expected(const char *name) {
        for (size_t i = 0; i < PAYLOADS; i++)
                if (strcmp(payloads[i].name, name) == 0)
                        return true;
        return false;
}

static void every_payload_of_the_corpus_is_tested_and_every_provider_has_some(void **state) {
        (void) state;
        char path[4096];
        snprintf(path, sizeof path, "%s/provider", corpus_folder());
        DIR *folder = opendir(path);
        assert_non_null(folder);
        for (struct dirent *entry; (entry = readdir(folder));)
                if (entry->d_name[0] != '.' && !is_expected(entry->d_name))
                        fail_msg("%s: nothing is expected of it", entry->d_name);
        closedir(folder);
        for (const struct hook_provider *provider = hook_providers; provider->name; provider++) {
                size_t pushes = 0, size = strlen(provider->name);
                for (size_t i = 0; i < PAYLOADS; i++)
                        pushes += strncmp(payloads[i].name, provider->name, size) == 0 &&
                                  payloads[i].name[size] == '-' && strncmp(payloads[i].events, "push", 4) == 0;
                if (pushes == 0)
                        fail_msg("%s: no payload with a push", provider->name);
                assert_ptr_equal(hook_provider_find(provider->name), provider);
        }
        assert_null(hook_provider_find("dockerhub"));
        assert_null(hook_provider_find(""));
}

static void the_endpoints_host_takes_the_place_of_the_payloads(void **state) {
        (void) state;
        for (size_t i = 0; i < PAYLOADS; i++) {
                struct provider_request request;
                struct hook_result result;
                corpus_load(payloads[i].name, &request);
                request.endpoint.host = "mirror.example:4443";
                receive(&request, &result);
                assert_int_equal(result.status, *payloads[i].events ? 202 : 200);
                for (size_t j = 0; j < result.events.count; j++)
                        assert_string_equal(result.events.items[j].host, "mirror.example:4443");
                hook_events_clear(&result.events);
                provider_request_clear(&request);
        }
}

static void expect_status(const char *name, struct provider_request *request, unsigned status) {
        struct hook_result result;
        receive(request, &result);
        if (result.status != status)
                fail_msg("%s: %u, not %u: %s", name, result.status, status, result.reason);
        assert_true(status < 300 || result.events.count == 0);
        hook_events_clear(&result.events);
}

static void only_posts_are_taken(void **state) {
        (void) state;
        static const char *const methods[] = { "GET", "PUT", "OPTIONS", "HEAD", "post", "" };
        struct provider_request request;
        corpus_load("generic-plain", &request);
        for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
                request.request.method = methods[i];
                expect_status(methods[i], &request, 405);
        }
        provider_request_clear(&request);
}

static void a_missing_header_that_tells_the_event_is_malformed(void **state) {
        (void) state;
        static const struct {
                const char *payload, *header;
        } cases[] = {
                { "github-package", "X-GitHub-Event" },
                { "nexus-created", "X-Nexus-Webhook-Id" },
                { "zot-updated", "Ce-Type" },
        };
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
                struct provider_request request;
                corpus_load(cases[i].payload, &request);
                provider_request_set(&request, cases[i].header, NULL);
                expect_status(cases[i].payload, &request, 400);
                provider_request_clear(&request);
        }
}

static void the_validation_code_of_event_grid_is_given_back_and_nothing_else(void **state) {
        (void) state;
        struct provider_request request;
        struct hook_result result;
        corpus_load("azure-validation", &request);
        receive(&request, &result);
        assert_string_equal(result.answer, "{\"validationResponse\":\"512d38b6-c7b8-40c8-89fe-f46f9e9622b6\"}");
        provider_request_set(&request, "aeg-event-type", "Notification");
        receive(&request, &result);
        assert_int_equal(result.status, 200);
        assert_string_equal(result.answer, "");
        provider_request_clear(&request);
}

static void a_body_is_taken_or_refused_as_a_whole(void **state) {
        (void) state;
        struct provider_request request;
        corpus_load("distribution-batch", &request);
        memcpy(strstr((char *) request.request.body, "\"2.0\""), "20.00", 5);
        expect_status("batch", &request, 400);
        provider_request_clear(&request);
}

static void what_names_no_image_is_left_out_and_the_others_of_the_envelope_taken(void **state) {
        (void) state;
        struct provider_request request;
        struct hook_result all, rest;
        corpus_load("distribution-batch", &request);
        receive(&request, &all);
        memcpy(strstr((char *) request.request.body, "\"2.0\""), "\"2 0\"", 5);
        receive(&request, &rest);
        assert_int_equal(rest.status, 202);
        assert_int_equal(rest.events.odd, 1);
        assert_int_equal(rest.events.count, all.events.count - 1);
        hook_events_clear(&all.events);
        hook_events_clear(&rest.events);
        provider_request_clear(&request);
}

/* Whoever may push says the Host header, and Distribution sends what is refused again, for ever, and nothing else. */
static void no_pusher_can_make_a_registry_send_what_is_refused(void **state) {
        (void) state;
        static const char *const requests[] = { "{}",
                                                "{\"host\":null}",
                                                "{\"host\":\"\"}",
                                                "{\"host\":\"a!b\"}",
                                                "{\"host\":\"vm\"}",
                                                "{\"host\":\"a/b\"}",
                                                "{\"host\":\"x:22@127.0.0.1\"}",
                                                "{\"host\":\"http://\"}",
                                                "{\"host\":\"r.example:99999999\"}",
                                                "{\"host\":\"\\u003c\\ufffd\"}" };
        struct provider_request request;
        struct hook_result result;
        char body[1024];
        corpus_load("distribution-batch", &request);
        for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
                snprintf(body, sizeof body,
                         "{\"events\":[{\"action\":\"push\",\"target\":{\"repository\":\"a\",\"tag\":\"1\"},"
                         "\"request\":%s}]}",
                         requests[i]);
                struct hook_request sent = request.request;
                sent.body = body;
                sent.body_size = strlen(body);
                result = (struct hook_result){ 0 };
                hook_provider_receive(&request.endpoint, &sent, &result);
                if (result.status != 200 || result.events.odd != 1 || result.events.count != 0)
                        fail_msg("%s: %u: %s", requests[i], result.status, result.reason);
                hook_events_clear(&result.events);
        }
        provider_request_clear(&request);
}

/* With `includereferences` a notification has whatever annotations the pusher gave to layers. */
static void no_annotation_of_a_layer_makes_a_notification_unreadable(void **state) {
        (void) state;
        static const char head[] = "{\"events\":[{\"action\":\"push\",\"target\":{\"repository\":\"a\",\"tag\":\"1\",",
                          tail[] = "},\"request\":{\"host\":\"r.example:1\",\"useragent\":\"\\\"references\\\":[\"}}]}";
        enum { MANY = 300000 };
        char *many = calloc(MANY, 4), *deep = calloc(1, 1000), *body = malloc(MANY * 4 + 1000);
        for (size_t i = 0; i < MANY; i++)
                memcpy(many + 3 * i, "\"\",", 3);
        memcpy(many + 3 * (MANY - 1), "1", 2);
        memset(deep, '[', 400);
        memset(deep + 400, ']', 400);
        const struct {
                const char *before, *value, *after;
                unsigned status;
        } lists[] = {
                { "\"references\":[{\"annotations\":{\"a\\u0000\":\"", "\\u0000]\\\\", "\"}}]", 202 },
                { "\"references\" : [{\"urls\":[", many, "]}]", 202 },
                { "\"references\":\n\t[", deep, "]", 202 },
                { "\"references\":[],\"reference\":", "\"references\"", "", 202 },
                { "\"references\":[", "]", "", 202 },
                { "\"references\":[", "", "", 400 },           /* without an end */
                { "\"references\":[\"", "]", "", 400 },        /* likewise */
                { "\"references\":\"", "\\u0000", "\"", 400 }, /* no list, and none of the registry's */
        };
        struct provider_request request;
        corpus_load("distribution-batch", &request);
        for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
                sprintf(body, "%s%s%s%s%s", head, lists[i].before, lists[i].value, lists[i].after, tail);
                struct hook_request sent = request.request;
                struct hook_result result = { 0 };
                sent.body = body;
                sent.body_size = strlen(body);
                hook_provider_receive(&request.endpoint, &sent, &result);
                if (result.status != lists[i].status || result.events.count != (result.status == 202))
                        fail_msg("%zu: %u: %s", i, result.status, result.reason);
                hook_events_clear(&result.events);
        }
        provider_request_clear(&request);
        free(many);
        free(deep);
        free(body);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(documented_payloads_give_their_events_and_repeated_ones_the_same),
                cmocka_unit_test(every_payload_of_the_corpus_is_tested_and_every_provider_has_some),
                cmocka_unit_test(the_endpoints_host_takes_the_place_of_the_payloads),
                cmocka_unit_test(only_posts_are_taken),
                cmocka_unit_test(a_missing_header_that_tells_the_event_is_malformed),
                cmocka_unit_test(the_validation_code_of_event_grid_is_given_back_and_nothing_else),
                cmocka_unit_test(a_body_is_taken_or_refused_as_a_whole),
                cmocka_unit_test(what_names_no_image_is_left_out_and_the_others_of_the_envelope_taken),
                cmocka_unit_test(no_pusher_can_make_a_registry_send_what_is_refused),
                cmocka_unit_test(no_annotation_of_a_layer_makes_a_notification_unreadable),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
