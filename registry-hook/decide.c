/* SPDX-License-Identifier: Apache-2.0 */
#include "registry-hook/decide.h"

#include <stdlib.h>
#include <string.h>

#include "registry-hook/auths.h"
#include "registry-hook/log.h"
#include "registry-hook/rules.h"

struct question {
        const struct hook_config *config;
        const struct hook_event *event;
};

/* The fallback tag under which registries without the referrers API keep artifacts: "sha256-<hex>". */
static bool is_fallback_tag(const char *tag) {
        static const char *const prefixes[] = { "sha256-", "sha512-" };
        for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
                size_t size = strlen(prefixes[i]);
                if (strncmp(tag, prefixes[i], size) == 0 && strspn(tag + size, "0123456789abcdef") >= 32)
                        return true;
        }
        return false;
}

static bool no(char *reason, const char *text) {
        snprintf(reason, QUEUE_REASON_SIZE, "%s", text);
        return false;
}

bool hook_decide_may_matter(const struct hook_config *config, const struct hook_event *event, char *reason) {
        if (strncmp(event->agent, "zeropull/", 9) == 0 || is_fallback_tag(event->tag) ||
            strstr(event->media_type, "vnd.zeropull"))
                return no(reason, "our own artifact");
        if (event->kind == HOOK_PUSH && !hook_rules_may_build(config, event->host, event->repository, event->tag))
                return no(reason, "no rule builds it");
        return true;
}

static bool wants_platform(const void *context, const char *platform) {
        const struct question *q = context;
        return hook_rules_want_platform(q->config, q->event->host, q->event->repository, q->event->tag, platform);
}

static bool set_target(const struct hook_rule *rule, const struct hook_event *event, struct hook_wanted *wanted) {
        int size = rule->target ? snprintf(wanted->target, sizeof wanted->target, "%s", rule->target)
                                : snprintf(wanted->target, sizeof wanted->target, "docker://%s/%s", event->host,
                                           event->repository);
        return (size_t) size < sizeof wanted->target;
}

/* Asks the rules about one image, and adds it when it is marked. */
static void judge(const struct question *q, const struct hook_look *look, const struct hook_image *image,
                  struct zp_buffer *why, struct hook_decision *out) {
        struct hook_facts facts = { .host = q->event->host,
                                    .repository = q->event->repository,
                                    .tag = q->event->tag,
                                    .platform = image->platform,
                                    .size = image->size,
                                    .labels = image->labels,
                                    .annotations = image->annotations,
                                    .index_annotations = look->index_annotations };
        if (why) {
                zp_autofree char *line = zp_format("%s %s, %llu bytes compressed:\n", image->platform, image->digest,
                                                   (unsigned long long) image->size);
                if (line)
                        zp_buffer_text(why, line);
        }
        if (strncmp(image->platform, "linux/", 6) != 0) { /* an attestation's is unknown */
                if (why)
                        zp_buffer_text(why, "  only images for linux are built\n");
                snprintf(out->text, sizeof out->text, "not marked: only images for linux are built, not for %s",
                         image->platform);
                return;
        }
        const struct hook_rule *rule = hook_rules_find(q->config, &facts, why);
        struct hook_wanted *wanted = &out->wanted[out->count];
        *wanted = (struct hook_wanted){ .image_size = image->size };
        if (!rule || rule->is_skip || !set_target(rule, q->event, wanted))
                return;
        snprintf(wanted->digest, sizeof wanted->digest, "%s", image->digest);
        snprintf(wanted->platform, sizeof wanted->platform, "%s", image->platform);
        snprintf(wanted->rule, sizeof wanted->rule, "%s", rule->name);
        wanted->priority = rule->priority;
        out->count++;
}

static int judge_all(const struct question *q, const struct hook_look *look, struct zp_buffer *why,
                     struct hook_decision *out, struct zp_error *err) {
        out->wanted = calloc(look->image_count + 1, sizeof *out->wanted);
        if (!out->wanted)
                return zp_error_errno(err, ENOMEM, "decide");
        for (size_t i = 0; i < look->image_count; i++)
                judge(q, look, &look->images[i], why, out);
        if (look->is_artifact)
                snprintf(out->text, sizeof out->text, "no image but an artifact");
        else if (look->broken[0] && out->count == 0)
                snprintf(out->text, sizeof out->text, "%s", look->broken);
        else if (out->count == 0 && look->nothing[0])
                snprintf(out->text, sizeof out->text, "not marked: %s", look->nothing);
        else if (out->count == 0 && !out->text[0])
                snprintf(out->text, sizeof out->text, "not marked");
        else if (out->count > 0)
                snprintf(out->text, sizeof out->text, "marked by rule '%s'%s", out->wanted[0].rule,
                         out->count > 1 ? " and for more than one platform" : "");
        if (look->broken[0] && out->count > 0) {
                size_t length = strlen(out->text);
                snprintf(out->text + length, sizeof out->text - length, "; %s", look->broken);
        }
        hook_log_clean(out->text);
        out->problem = look->broken[0] ? "broken" : NULL;
        out->is_tag_unclear = q->event->tag[0] && !look->is_current;
        if (look->is_current)
                memcpy(out->tag_digest, look->digest, sizeof out->tag_digest);
        return 0;
}

int hook_decide(const struct hook_config *config, const struct hook_event *event, const char *auths,
                const struct zp_cancel *cancel, struct zp_buffer *why, struct hook_decision *out,
                struct zp_error *err) {
        struct question q = { config, event };
        *out = (struct hook_decision){ 0 };
        const struct hook_registry *registry = hook_config_registry(config, event->host);
        if (!registry) { /* allowed when it was accepted, and no more */
                snprintf(out->text, sizeof out->text, "registry %s is not in the configuration", event->host);
                return 0;
        }
        struct hook_look look = { 0 };
        const struct zp_keychain keychain = hook_auths_keychain(auths);
        struct hook_look_request request = { .registry = registry,
                                             .host = event->host,
                                             .repository = event->repository,
                                             .tag = event->tag,
                                             .digest = event->has_digest && event->kind != HOOK_DELETE ? &event->digest
                                                                                                       : NULL,
                                             .wants = wants_platform,
                                             .context = &q,
                                             .keychain = auths ? &keychain : NULL,
                                             .cancel = cancel };
        int r = hook_look(&request, &look, err);
        if (r == 0)
                r = judge_all(&q, &look, why, out, err);
        hook_look_clear(&look);
        return r;
}

void hook_decision_clear(struct hook_decision *decision) {
        free(decision->wanted);
        *decision = (struct hook_decision){ 0 };
}
