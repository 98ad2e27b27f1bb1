/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/accelerate.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "base/limits.h"
#include "oci/chain-id.h"
#include "oci/reference.h"
#include "ship/pull.h"
#include "ship/trust.h"
#include "snapshotter/control/deadline.h"
#include "snapshotter/control/log.h"

#define ANSWERS_MAX 256
#define GOOD_ANSWER_S 600
#define BAD_ANSWER_S 60

/* What was found out about an image. */
struct answer {
        struct zp_digest manifest_digest;
        char *reference;
        enum { UNUSED, PENDING, GOOD, BAD } state;
        time_t until; /* monotonic seconds */
};

struct snap_accelerator {
        struct zp_store *store;
        struct snap_metastore *metastore;
        struct snap_metrics *metrics;
        char *policy, *auth_file, *ca_file;
        unsigned timeout_ms;
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct answer answers[ANSWERS_MAX]; /* guarded by lock */
};

static bool copy(const char *text, char **out) {
        *out = text ? strdup(text) : NULL;
        return !text || *out;
}

int snap_accelerator_new(struct zp_store *store, struct snap_metastore *metastore,
                         const struct snap_accelerator_options *options, struct snap_accelerator **out,
                         struct zp_error *err) {
        zp_auto(snap_accelerator_free) struct snap_accelerator *a = calloc(1, sizeof *a);
        if (!a)
                return zp_error_errno(err, ENOMEM, "acceleration");
        pthread_mutex_init(&a->lock, NULL);
        pthread_cond_init(&a->changed, NULL);
        a->store = store;
        a->metastore = metastore;
        a->timeout_ms = options->timeout_ms;
        a->metrics = options->metrics;
        if (!copy(options->policy, &a->policy) || !copy(options->auth_file, &a->auth_file) ||
            !copy(options->ca_file, &a->ca_file))
                return zp_error_errno(err, ENOMEM, "acceleration");
        *out = zp_steal(&a);
        return 0;
}

void snap_accelerator_free(struct snap_accelerator *a) {
        if (!a)
                return;
        for (size_t i = 0; i < ANSWERS_MAX; i++)
                free(a->answers[i].reference);
        pthread_mutex_destroy(&a->lock);
        pthread_cond_destroy(&a->changed);
        free(a->policy);
        free(a->auth_file);
        free(a->ca_file);
        free(a);
}

/* ---- fetching ---- */

struct fetch {
        struct snap_accelerator *accelerator;
        struct zp_source *source;
        struct zp_remote *remote;
        struct zp_policy *policy;
        const struct zp_cancel *cancel;
};

static void log_notice(void *context, const char *text) {
        (void) context;
        snap_log_event(SNAP_LOG_WARN, text, NULL);
}

/* The very manifest that containerd pulls, whatever the tag says by now; and the repository it is in. */
static int open_sides(struct fetch *f, const struct zp_digest *manifest, const char *reference, struct zp_error *err) {
        struct snap_accelerator *a = f->accelerator;
        struct zp_reference parsed;
        char digest[ZP_DIGEST_TEXT_SIZE];
        struct zp_source_options options = {
                .auth_file = a->auth_file, .ca_file = a->ca_file, .cancel = f->cancel, .notice = { log_notice, NULL }
        };
        int r = zp_reference_parse(reference, &parsed, err);
        if (r < 0)
                return r;
        zp_autofree char *beside = zp_format("docker://%s/%s", parsed.registry, parsed.repository);
        zp_autofree char *image =
                zp_format("docker://%s/%s@%s", parsed.registry, parsed.repository, zp_digest_text(manifest, digest));
        zp_reference_clear(&parsed);
        if (!beside || !image)
                return zp_error_errno(err, ENOMEM, "%s", reference);
        r = zp_source_open(image, &options, &f->source, err);
        return r < 0 ? r : zp_remote_open(beside, &options, &f->remote, err);
}

static int pull(struct fetch *f, struct zp_trust *trust, bool is_checked, struct zp_error *err) {
        struct zp_pull_options options = { .platform = zp_platform_host(), .cancel = f->cancel };
        struct zp_pull_result result = { 0 };
        if (is_checked) {
                options.check = zp_trust_check;
                options.check_context = trust;
        }
        int r = zp_pull(f->source, f->remote, f->accelerator->store, &options, &result, err);
        zp_image_record_clear(&result.image);
        return r;
}

static int fetch_trusted(struct fetch *f, const struct zp_digest *manifest, const char *reference,
                         struct zp_error *err) {
        struct snap_accelerator *a = f->accelerator;
        struct zp_image_record image = { 0 };
        int r = a->policy ? zp_policy_load(a->policy, &f->policy, err)
                          : zp_policy_load_if_present(ZP_POLICY_DEFAULT_PATH, &f->policy, err);
        if (r == 0)
                r = open_sides(f, manifest, reference, err);
        if (r < 0)
                return r;
        struct zp_trust trust = { .remote = f->remote, .image = zp_source_name(f->source), .policy = f->policy };
        int is_checked = zp_trust_wants_check(&trust, err);
        if (is_checked < 0)
                return is_checked;
        /* what is here, and nobody wants to see signed, takes no question */
        if (!is_checked && (r = zp_store_find_image(a->store, manifest, &image, err)) != 0) {
                zp_image_record_clear(&image);
                return r < 0 ? r : 0;
        }
        return pull(f, &trust, is_checked == 1, err);
}

static int fetch(struct snap_accelerator *a, const struct zp_digest *manifest, const char *reference,
                 const struct zp_cancel *cancel, struct zp_error *err) {
        struct snap_deadline deadline;
        int r = snap_deadline_begin(&deadline, a->timeout_ms, cancel, err);
        if (r < 0)
                return r;
        struct fetch f = { .accelerator = a, .cancel = &deadline.cancel };
        r = fetch_trusted(&f, manifest, reference, err);
        if (f.remote)
                zp_remote_close(f.remote);
        if (f.source)
                zp_source_close(f.source);
        if (f.policy)
                zp_policy_free(f.policy);
        snap_deadline_end(&deadline);
        if (r < 0 && deadline.has_passed)
                r = zp_error_set(err, ETIMEDOUT, "the snapshot could not be had within %u ms", a->timeout_ms);
        return r;
}

int snap_accelerator_restore(struct snap_accelerator *a, const struct snap_base *base, const struct zp_cancel *cancel,
                             struct zp_error *err) {
        return fetch(a, &base->manifest_digest, base->reference, cancel, err);
}

/* ---- answers ---- */

static uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static time_t now_s(void) {
        return (time_t) (now_us() / 1000000);
}

/* That of the image, or the one to be used for it: a free one, else the one that ends first. NULL: all are pending. */
static struct answer *find_answer(struct snap_accelerator *a, const struct zp_digest *manifest, const char *reference) {
        struct answer *best = NULL;
        for (size_t i = 0; i < ANSWERS_MAX; i++) {
                struct answer *answer = &a->answers[i];
                if (answer->state != UNUSED && zp_digest_equal(&answer->manifest_digest, manifest) &&
                    strcmp(answer->reference, reference) == 0)
                        return answer;
                if (answer->state != PENDING && (!best || answer->until < best->until))
                        best = answer;
        }
        if (!best)
                return NULL;
        free(best->reference);
        *best = (struct answer){ .manifest_digest = *manifest, .reference = strdup(reference) };
        return best->reference ? best : NULL;
}

static void tell(struct snap_accelerator *a, const struct zp_digest *manifest, const char *reference, int result,
                 uint64_t took_us, const struct zp_error *reason) {
        char digest[ZP_DIGEST_TEXT_SIZE], took_ms[24];
        struct zp_error err = { 0 };
        struct snap_outcome outcome = { .manifest_digest = *manifest,
                                        .reference = reference,
                                        .reason = result < 0 ? reason->message : NULL };
        snprintf(took_ms, sizeof took_ms, "%" PRIu64, took_us / 1000);
        if (a->metrics)
                snap_metrics_decided(a->metrics, result, took_us);
        if (result < 0)
                snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", reference, "manifest",
                               zp_digest_text(manifest, digest), "reason", reason->message, "hint",
                               reason->hint[0] ? reason->hint : NULL, "took_ms", took_ms, NULL);
        else
                snap_log_event(SNAP_LOG_INFO, "image accelerated", "image", reference, "manifest",
                               zp_digest_text(manifest, digest), "took_ms", took_ms, NULL);
        if (snap_metastore_note(a->metastore, &outcome, &err) < 0)
                snap_log_event(SNAP_LOG_WARN, "cannot record what became of an image", "error", err.message, NULL);
}

/* Whether the image's snapshot is here. Asks once for all who want to know at the same time. */
static bool is_available(struct snap_accelerator *a, const struct zp_digest *manifest, const char *reference,
                         const struct zp_cancel *cancel) {
        struct answer *answer;
        pthread_mutex_lock(&a->lock);
        while ((answer = find_answer(a, manifest, reference)) && answer->state == PENDING)
                pthread_cond_wait(&a->changed, &a->lock);
        bool is_known = answer && answer->state != UNUSED && now_s() < answer->until;
        bool is_good = is_known && answer->state == GOOD;
        if (answer && !is_known)
                answer->state = PENDING;
        pthread_mutex_unlock(&a->lock);
        if (is_known || !answer)
                return is_good;
        struct zp_error reason = { 0 };
        uint64_t began_us = now_us();
        int r = fetch(a, manifest, reference, cancel, &reason);
        if (r != -ECANCELED)
                tell(a, manifest, reference, r, now_us() - began_us, &reason);
        pthread_mutex_lock(&a->lock);
        /* who gave up found nothing out */
        answer->state = r == -ECANCELED ? UNUSED : r < 0 ? BAD : GOOD;
        answer->until = now_s() + (r < 0 ? BAD_ANSWER_S : GOOD_ANSWER_S);
        pthread_cond_broadcast(&a->changed);
        pthread_mutex_unlock(&a->lock);
        return r == 0;
}

/* ---- layers ---- */

/* How many layers make the chain `target`: 0, none of the image's. */
static uint16_t layers_of_chain(const struct zp_image_record *image, const struct zp_digest *target) {
        struct zp_digest chain_ids[ZP_LIMIT_LAYERS]; /* no record has more */
        zp_chain_ids(image->diff_ids, image->layer_count, chain_ids);
        for (uint16_t i = 0; i < image->layer_count; i++)
                if (zp_digest_equal(&chain_ids[i], target))
                        return (uint16_t) (i + 1);
        return 0;
}

/* 1: filled in. The store may have lost the image since the answer. */
static int describe(struct snap_accelerator *a, const struct zp_digest *manifest, const struct zp_digest *target,
                    struct snap_base *base, struct zp_error *err) {
        struct zp_image_record image = { 0 };
        int r = zp_store_find_image(a->store, manifest, &image, err);
        if (r <= 0)
                return r;
        uint16_t layers = layers_of_chain(&image, target);
        *base = (struct snap_base){
                .chain_id = *target, .manifest_digest = *manifest, .layers = layers, .of = image.layer_count
        };
        zp_image_record_clear(&image);
        return layers > 0;
}

static void forget_answer(struct snap_accelerator *a, const struct zp_digest *manifest, const char *reference) {
        pthread_mutex_lock(&a->lock);
        struct answer *answer = find_answer(a, manifest, reference);
        if (answer && answer->state != PENDING)
                answer->until = 0;
        pthread_mutex_unlock(&a->lock);
}

int snap_accelerate(struct snap_accelerator *a, const struct snap_labels *labels, const struct zp_cancel *cancel,
                    struct snap_base *base) {
        const char *target = snap_label_get(labels, SNAP_LABEL_TARGET);
        const char *reference = snap_label_get(labels, SNAP_LABEL_IMAGE);
        const char *manifest = snap_label_get(labels, SNAP_LABEL_MANIFEST);
        struct zp_digest chain_id, manifest_digest;
        struct zp_error err = { 0 };
        if (!target || !reference || !manifest)
                return 0;
        if (zp_digest_parse(target, &chain_id, &err) < 0 || zp_digest_parse(manifest, &manifest_digest, &err) < 0) {
                snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", reference, "reason", err.message, NULL);
                return 0;
        }
        for (int attempt = 0; attempt < 2 && is_available(a, &manifest_digest, reference, cancel); attempt++) {
                int r = describe(a, &manifest_digest, &chain_id, base, &err);
                base->reference = reference;
                if (r < 0)
                        snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", reference, "reason",
                                       err.message, NULL);
                if (r != 0)
                        return r > 0;
                forget_answer(a, &manifest_digest, reference);
        }
        return 0;
}
