/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/trigger.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oci/fetch.h"
#include "oci/http.h"
#include "oci/json.h"
#include "registry-hook/clock.h"

#define ANSWER_MAX (1u << 20)
#define BUILDS_MAX 256
#define POLL_MS 300
/* A service that restarts is away for so long. */
#define AWAY_MS 30000

struct client {
        const struct hook_trigger_options *options;
        struct zp_http *http;
        char *authorization;
        int64_t deadline_ms, away_since_ms;
};

static int read_text(void *context, uint64_t offset, void *buffer, size_t size, struct zp_error *err) {
        (void) err;
        memcpy(buffer, (const char *) context + offset, size);
        return 0;
}

/* Asks for PATH; POSTs `body` when there is one. */
static int ask(struct client *c, const char *path, json_t *body, json_t **out, struct zp_error *err) {
        size_t size = strlen(c->options->url);
        while (size > 0 && c->options->url[size - 1] == '/')
                size--;
        zp_autofree char *url = zp_format("%.*s%s", (int) size, c->options->url, path), *text = NULL;
        if (!url || (body && !(text = json_dumps(body, JSON_COMPACT))))
                return zp_error_errno(err, ENOMEM, "trigger");
        struct zp_http_body sent = {
                .size = text ? strlen(text) : 0, .content_type = "application/json", .read = read_text, .context = text
        };
        struct zp_http_request request = { .url = url,
                                           .method = body ? "POST" : NULL,
                                           .body = body ? &sent : NULL,
                                           .authorization = c->authorization,
                                           .body_limit = ANSWER_MAX };
        struct zp_http_response response = { 0 };
        int r = zp_http_exchange(c->http, &request, &response, err);
        if (r == 0)
                r = zp_json_load(response.body.data ? response.body.data : "", response.body.size, "answer", out, err);
        if (r == 0 && response.status > 299) {
                const char *reason = json_string_value(json_object_get(*out, "error"));
                r = zp_error_set(err,
                                 response.status == 503   ? EAGAIN
                                 : response.status == 404 ? ENOENT
                                                          : EINVAL,
                                 "%s: %d: %s", c->options->url, response.status, reason ? reason : "no reason given");
                json_decref(zp_steal(out));
        } else if (r == -EPROTO) { /* other programs have a way round it that this one has not */
                zp_error_hint(err, "'--url' begins with https:// where the service has 'tls:', and '--ca-file' names "
                                   "its authority");
        } else if (r < 0 && response.is_transient) {
                r = -EAGAIN;
        }
        zp_http_response_clear(&response);
        return r;
}

/* As above, outlasting a service that is away for a moment; to be asked what changes nothing. */
static int ask_again(struct client *c, const char *path, json_t **out, struct zp_error *err) {
        for (;;) {
                int64_t now = hook_monotonic_ms();
                int r = ask(c, path, NULL, out, err);
                if (r != -EAGAIN && r != -ECONNREFUSED) {
                        c->away_since_ms = 0;
                        return r;
                }
                if (!c->away_since_ms)
                        c->away_since_ms = now;
                if (now - c->away_since_ms > AWAY_MS || now > c->deadline_ms)
                        return r;
                zp_pause(POLL_MS, NULL);
        }
}

static const char *member(json_t *object, const char *name) {
        const char *text = json_string_value(json_object_get(object, name));
        return text ? text : "";
}

static int await_decision(struct client *c, int64_t event, json_t **out, struct zp_error *err) {
        zp_autofree char *path = zp_format("/v1/decisions/%lld", (long long) event);
        char last[600] = "";
        if (!path)
                return zp_error_errno(err, ENOMEM, "trigger");
        for (;;) {
                int r = ask_again(c, path, out, err);
                if (r < 0 || json_is_true(json_object_get(*out, "decided")))
                        return r;
                const char *text = member(*out, "text");
                if (*text && strncmp(text, last, sizeof last - 1) != 0 && !c->options->is_quiet)
                        fprintf(stderr, "not decided yet: %s\n", text);
                snprintf(last, sizeof last, "%s", text);
                json_decref(zp_steal(out));
                if (hook_monotonic_ms() > c->deadline_ms)
                        return zp_error_set(err, ETIMEDOUT, "not decided in time%s%s", last[0] ? ": " : "", last);
                zp_pause(POLL_MS, NULL);
        }
}

static bool is_over(const char *state) {
        return strcmp(state, "queued") != 0 && strcmp(state, "running") != 0;
}

/* Until the build is over; tells what changes. */
static int await_build(struct client *c, int64_t id, json_t **out, struct zp_error *err) {
        char last[600] = "";
        zp_autofree char *path = zp_format("/v1/builds/%lld", (long long) id);
        if (!path)
                return zp_error_errno(err, ENOMEM, "trigger");
        for (;;) {
                int r = ask_again(c, path, out, err);
                if (r < 0)
                        return r;
                char text[sizeof last];
                const char *state = member(*out, "state"), *more = member(*out, "progress");
                bool is_again = strcmp(state, "queued") == 0 && *member(*out, "reason");
                if (is_again)
                        more = member(*out, "reason");
                snprintf(text, sizeof text, "%s%s%s%.500s", state, is_again ? " again" : "", *more ? ": " : "", more);
                if (strcmp(text, last) != 0 && !c->options->is_quiet)
                        fprintf(stderr, "build %lld (%s): %s\n", (long long) id, member(*out, "platform"), text);
                memcpy(last, text, sizeof last);
                if (is_over(state))
                        return 0;
                json_decref(zp_steal(out));
                if (hook_monotonic_ms() > c->deadline_ms)
                        return zp_error_set(err, ETIMEDOUT, "build %lld is not done in time: %s", (long long) id, last);
                zp_pause(POLL_MS, NULL);
        }
}

static int await_builds(struct client *c, json_t *decision, json_t *results, enum hook_exit *code,
                        struct zp_error *err) {
        json_t *builds = json_object_get(decision, "builds"), *entry;
        size_t i;
        json_array_foreach(builds, i, entry) {
                json_t *build = NULL;
                int r = await_build(c, json_integer_value(json_object_get(entry, "id")), &build, err);
                if (r < 0)
                        return r;
                if (strcmp(member(build, "state"), "done") != 0) {
                        *code = HOOK_EXIT_FAILED;
                        fprintf(stderr, "zeropull-hook: build %lld %s: %s\n",
                                (long long) json_integer_value(json_object_get(build, "id")), member(build, "state"),
                                member(build, "reason"));
                }
                json_object_del(build, "log");
                json_array_append_new(results, build);
        }
        return 0;
}

static int run(struct client *c, enum hook_exit *code, struct zp_error *err) {
        zp_auto(json_decref) json_t *body =
                json_pack("{s:s, s:b}", "reference", c->options->reference, "force", c->options->force);
        zp_auto(json_decref) json_t *answer = NULL, *decision = NULL, *results = json_array();
        int r = body ? ask(c, "/v1/builds", body, &answer, err) : zp_error_set(err, EINVAL, "reference: not UTF-8");
        if (r == 0)
                r = await_decision(c, json_integer_value(json_object_get(answer, "event")), &decision, err);
        if (r < 0)
                return r;
        if (!c->options->is_quiet)
                fprintf(stderr, "%s: %s\n", member(decision, "name"), member(decision, "text"));
        const char *problem = member(decision, "problem");
        bool is_marked = json_integer_value(json_object_get(decision, "marked")) > 0;
        *code = strcmp(problem, "absent") == 0 ? HOOK_EXIT_NOT_FOUND
                : *problem                     ? HOOK_EXIT_FAILED
                : is_marked                    ? HOOK_EXIT_DONE
                                               : HOOK_EXIT_REFUSED;
        r = await_builds(c, decision, results, code, err);
        if (r == 0 && (json_dumpf(results, stdout, JSON_INDENT(2)) < 0 || putchar('\n') < 0 || fflush(stdout) < 0))
                r = zp_error_errno(err, errno, "stdout");
        return r;
}

int hook_trigger(const struct hook_trigger_options *options, enum hook_exit *code, struct zp_error *err) {
        struct client c = { .options = options, .deadline_ms = hook_monotonic_ms() + options->timeout_s * 1000 };
        struct zp_http_options http = { .ca_file = options->ca_file,
                                        .user_agent = "zeropull-hook/" ZP_VERSION,
                                        .stall_timeout_ms = 30000 };
        zp_autofree char *authorization = options->token ? zp_format("Bearer %s", options->token) : NULL;
        zp_auto(zp_http_free) struct zp_http *client = NULL;
        int r = zp_http_new(&http, &client, err);
        c.http = client;
        c.authorization = authorization;
        return r < 0 ? r : run(&c, code, err);
}
