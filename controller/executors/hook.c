/* SPDX-License-Identifier: Apache-2.0
 *
 * Builds in the queue of zeropull-hook, over its REST API. A build is "hook-N" when its number is known, and
 * "hook-event-N" until it is decided what the wish leads to.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "controller/executors/hook-answers.h"
#include "controller/secrets.h"
#include "oci/reference.h"

#define ANSWER_MAX (8u << 20)
#define TOKEN_MAX 4096
/* Builds that one wish may lead to: one for each platform. */
#define BUILDS_MAX 64
#define EVENT_PREFIX "hook-event-"
#define BUILD_PREFIX "hook-"

static const char *objection(const struct ctl_executors *all, const struct ctl_spec *spec) {
        if (!all->http)
                return "no hook is configured (section 'hook')";
        if (spec->target || spec->signing_secret || spec->base_image || spec->has_no_base)
                return "target, signing and base are in the hook's own rules: leave them out, or use executor: Job";
        return NULL;
}

static void name_build(const struct ctl_order *order, char id[CTL_BUILD_ID_SIZE]) {
        (void) order;
        id[0] = '\0';
}

/* ---- asking ---- */

static int authorization(const struct ctl_executors *all, char **out, struct zp_error *err) {
        zp_autofree char *token = NULL;
        size_t size;
        *out = NULL;
        if (!all->config->hook.token_file)
                return 0;
        int r = zp_read_file(AT_FDCWD, all->config->hook.token_file, TOKEN_MAX, &token, &size, err);
        if (r < 0)
                return r;
        token[strcspn(token, "\r\n")] = '\0';
        *out = zp_format("Bearer %s", token);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "hook");
}

static int judge(const struct ctl_executors *all, const struct zp_http_response *response, json_t **out,
                 struct zp_error *err) {
        zp_auto(json_decref) json_t *answer = NULL;
        const char *body = response->body.data ? response->body.data : "";
        int r = zp_json_load(body, response->body.size, "the answer", &answer, err);
        if (response->status > 299) {
                const char *reason = json_string_value(json_object_get(answer, "error"));
                int code = response->status == 404                              ? ENOENT
                           : response->status == 401 || response->status == 403 ? EACCES
                           : response->status == 409                            ? EBUSY
                           : response->status >= 500 || response->status == 429 ? EAGAIN
                                                                                : EINVAL;
                return zp_error_set(err, code, "%s: %d: %s", all->config->hook.url, response->status,
                                    reason ? reason : "no reason given");
        }
        if (r == 0)
                *out = zp_steal(&answer);
        return r < 0 ? zp_error_wrap(err, "%s", all->config->hook.url) : 0;
}

/* Asks for PATH; POSTs `body` when there is one. */
static int ask(const struct ctl_executors *all, const char *path, const char *body, json_t **out,
               struct zp_error *err) {
        zp_autofree char *url = zp_format("%s%s", all->config->hook.url, path), *token = NULL;
        struct zp_http_response response = { 0 };
        struct zp_http_body sent = { .size = body ? strlen(body) : 0,
                                     .content_type = "application/json",
                                     .read = zp_memory_read,
                                     .context = (void *) body };
        int r = url ? authorization(all, &token, err) : zp_error_errno(err, ENOMEM, "hook");
        if (r < 0)
                return r;
        const struct zp_http_request request = { .url = url,
                                                 .method = body ? "POST" : NULL,
                                                 .body = body ? &sent : NULL,
                                                 .authorization = token,
                                                 .body_limit = ANSWER_MAX };
        r = zp_http_exchange(all->http, &request, &response, err);
        if (r == 0)
                r = judge(all, &response, out, err);
        zp_http_response_clear(&response);
        if (token)
                explicit_bzero(token, strlen(token));
        return r;
}

/* ---- asking for a build ---- */

static int wish_of(const struct ctl_executors *all, const struct ctl_order *order, char **out, struct zp_error *err) {
        ctl_autosecrets struct ctl_secrets secrets = { 0 };
        zp_auto(json_decref) json_t *auths = NULL;
        int r = ctl_secrets_load(all->kube, order->owner, &secrets, err);
        if (r == 0)
                r = ctl_secrets_merge(&secrets, &auths, err);
        if (r < 0)
                return r;
        zp_auto(json_decref) json_t *wish = json_pack("{s:s}", "reference", order->image->image);
        if (wish && auths && json_object_set(wish, "auths", json_object_get(auths, "auths")) < 0)
                return zp_error_errno(err, ENOMEM, "hook");
        *out = wish ? json_dumps(wish, JSON_COMPACT) : NULL;
        return *out ? 0 : zp_error_errno(err, ENOMEM, "hook");
}

static int start(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                 struct zp_error *err) {
        zp_auto(json_decref) json_t *answer = NULL;
        char *wish = NULL;
        *out = (struct ctl_build){ .state = CTL_BUILD_QUEUED, .progress = -1, .reason = "Asked" };
        int r = wish_of(all, order, &wish, err);
        if (r < 0)
                return r;
        r = ask(all, "/v1/builds", wish, &answer, err);
        explicit_bzero(wish, strlen(wish));
        free(wish);
        if (r < 0)
                return r;
        snprintf(out->id, sizeof out->id, EVENT_PREFIX "%lld",
                 (long long) json_integer_value(json_object_get(answer, "event")));
        snprintf(out->message, sizeof out->message, "the hook decides about it");
        return 0;
}

/* ---- looking ---- */

static int look_at_build(const struct ctl_executors *all, const struct ctl_order *order, long long number,
                         struct ctl_build *out, struct zp_error *err) {
        zp_auto(json_decref) json_t *build = NULL;
        char path[64];
        snprintf(path, sizeof path, "/v1/builds/%lld", number);
        int r = ask(all, path, NULL, &build, err);
        if (r < 0)
                return r;
        if (!ctl_hook_read_build(build, order->image->digest, out))
                return -ENOENT;
        snprintf(out->id, sizeof out->id, BUILD_PREFIX "%lld", number);
        return 0;
}

/* The hook has forgotten the build, but not what it published. */
static int look_at_snapshots(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                             struct zp_error *err) {
        struct zp_reference reference;
        zp_auto(json_decref) json_t *answer = NULL;
        int r = zp_reference_parse(order->image->image, &reference, err);
        if (r < 0)
                return r;
        zp_autofree char *name = zp_format("%s/%s", reference.registry, reference.repository);
        zp_autofree char *escaped = name ? zp_kube_escape(name) : NULL;
        zp_autofree char *path = escaped ? zp_format("/v1/snapshots?limit=1000&repository=%s", escaped) : NULL;
        zp_reference_clear(&reference);
        if (!path)
                return zp_error_errno(err, ENOMEM, "hook");
        r = ask(all, path, NULL, &answer, err);
        if (r == 0 && !ctl_hook_read_snapshots(answer, order->image->digest, out)) {
                out->state = CTL_BUILD_GONE;
                snprintf(out->reason, sizeof out->reason, "BuildGone");
                snprintf(out->message, sizeof out->message, "the hook knows of no build of this image");
        }
        return r;
}

static int look_at_decision(const struct ctl_executors *all, const struct ctl_order *order, json_t *decision,
                            struct ctl_build *out, struct zp_error *err) {
        json_t *builds = json_object_get(decision, "builds");
        const char *text = json_string_value(json_object_get(decision, "text"));
        if (!json_is_true(json_object_get(decision, "decided"))) {
                if (text && *text)
                        snprintf(out->message, sizeof out->message, "the hook could not decide yet: %.450s", text);
                return 0;
        }
        for (size_t i = 0; i < json_array_size(builds) && i < BUILDS_MAX; i++) {
                json_t *id = json_object_get(json_array_get(builds, i), "id");
                int r = look_at_build(all, order, json_integer_value(id), out, err);
                if (r != -ENOENT)
                        return r;
        }
        if (json_integer_value(json_object_get(decision, "marked")) > 0)
                return look_at_snapshots(all, order, out, err);
        ctl_hook_read_refusal(decision, out);
        return 0;
}

static int look(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                struct zp_error *err) {
        const char *id = order->image->build_id;
        zp_auto(json_decref) json_t *decision = NULL;
        char path[64];
        int r;
        *out = (struct ctl_build){
                .state = CTL_BUILD_QUEUED, .progress = -1, .reason = "Asked", .message = "the hook decides about it"
        };
        snprintf(out->id, sizeof out->id, "%s", id);
        if (strncmp(id, EVENT_PREFIX, strlen(EVENT_PREFIX)) != 0) {
                r = look_at_build(all, order, strtoll(id + strlen(BUILD_PREFIX), NULL, 10), out, err);
                return r == -ENOENT ? look_at_snapshots(all, order, out, err) : r;
        }
        snprintf(path, sizeof path, "/v1/decisions/%lld", strtoll(id + strlen(EVENT_PREFIX), NULL, 10));
        r = ask(all, path, NULL, &decision, err);
        if (r == -ENOENT)
                return look_at_snapshots(all, order, out, err);
        return r < 0 ? r : look_at_decision(all, order, decision, out, err);
}

/* ---- ending ---- */

static int settle(const struct ctl_executors *all, const struct ctl_order *order, struct ctl_build *out,
                  struct zp_error *err) {
        *out = (struct ctl_build){ .state = CTL_BUILD_GONE };
        if (!all->http) /* none is configured any more */
                return 0;
        int r = look(all, order, out, err);
        bool is_under_way = out->state == CTL_BUILD_QUEUED || out->state == CTL_BUILD_RUNNING;
        if (r == 0 && is_under_way && strncmp(out->id, EVENT_PREFIX, strlen(EVENT_PREFIX)) == 0)
                return zp_error_set(err, EINPROGRESS, "%s: it has not decided yet what the wish for %s leads to",
                                    all->config->hook.url, order->image->image);
        return r;
}

static int cancel(const struct ctl_executors *all, const struct ctl_order *order, struct zp_error *err) {
        const char *number = order->image->build_id + strlen(BUILD_PREFIX);
        zp_auto(json_decref) json_t *answer = NULL;
        char path[64];
        snprintf(path, sizeof path, "/v1/builds/%lld/cancel", strtoll(number, NULL, 10));
        int r = ask(all, path, "{}", &answer, err);
        return r == -ENOENT || r == -EBUSY ? 0 : r;
}

const struct ctl_executor ctl_executor_hook = {
        .kind = CTL_EXECUTOR_HOOK,
        .name = "Hook",
        .is_shared = true,
        .objection = objection,
        .name_build = name_build,
        .start = start,
        .look = look,
        .settle = settle,
        .cancel = cancel,
};
