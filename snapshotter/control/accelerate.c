/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/accelerate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/limits.h"
#include "oci/chain-id.h"
#include "snapshotter/control/acquire.h"
#include "snapshotter/control/answers.h"
#include "snapshotter/control/log.h"
#include "snapshotter/control/silent.h"
#include "snapshotter/keychain/waiting.h"

#define GOOD_ANSWER_S 600
/* As long as an image's burst of questions takes: who may read it now, may not tomorrow. */
#define RIGHT_S 60
#define BAD_ANSWER_S 60
/* The agent may begin a little later than this process. Once it was not there, or did not answer, those who come
 * within half a minute do not wait for it like that as well. */
#define AGENT_BEGIN_MS 5000
#define AGENT_MISSED_S 30
#define AGENT_HASTE_MS 2000
/* For one look into a preload; it is passed over so long when it has not answered. */
#define PRELOAD_MS 3000
#define PRELOAD_PAUSE_MS 30000

struct snap_accelerator {
        struct snap_metastore *metastore;
        struct snap_metrics *metrics;
        struct snap_room *room;
        char *policy, *auth_file, *ca_file, *agent;
        struct snap_acquire_options acquire;
        struct snap_answers *answers;
        struct snap_silent *silent;
        _Atomic uint64_t agent_missed_us; /* monotonic; until when; 0: it was not */
};

static bool copy(const char *text, char **out) {
        *out = text ? strdup(text) : NULL;
        return !text || *out;
}

static void log_notice(void *context, const char *line) {
        (void) context;
        snap_log_event(SNAP_LOG_WARN, line, NULL);
}

/* All of them may hang, and there is still time for the registry. */
static int open_preloads(struct snap_accelerator *a, const struct snap_accelerator_options *options,
                         struct zp_error *err) {
        unsigned places = 1;
        for (const char *const *path = options->preloads; path && *path; path++)
                places++;
        unsigned share_ms = options->timeout_ms / places;
        struct snap_preloads_options preloads = { .paths = options->preloads,
                                                  .patience_ms = share_ms < PRELOAD_MS ? share_ms : PRELOAD_MS,
                                                  .pause_ms = PRELOAD_PAUSE_MS,
                                                  .notice = log_notice };
        return snap_preloads_new(&preloads, &a->acquire.preloads, err);
}

int snap_accelerator_new(struct zp_store *store, struct snap_metastore *metastore,
                         const struct snap_accelerator_options *options, struct snap_accelerator **out,
                         struct zp_error *err) {
        zp_auto(snap_accelerator_free) struct snap_accelerator *a = calloc(1, sizeof *a);
        if (!a)
                return zp_error_errno(err, ENOMEM, "acceleration");
        a->metastore = metastore;
        a->metrics = options->metrics;
        a->room = options->room;
        if (!copy(options->policy, &a->policy) || !copy(options->auth_file, &a->auth_file) ||
            !copy(options->ca_file, &a->ca_file) || !copy(options->agent, &a->agent))
                return zp_error_errno(err, ENOMEM, "acceleration");
        a->acquire = (struct snap_acquire_options){ .store = store,
                                                    .policy = a->policy,
                                                    .auth_file = a->auth_file,
                                                    .ca_file = a->ca_file,
                                                    .check_rights = options->check_rights,
                                                    .timeout_ms = options->timeout_ms,
                                                    .keychain = options->keychain };
        int r = zp_learned_new(&a->acquire.learned, err);
        if (r == 0)
                r = open_preloads(a, options, err);
        if (r == 0)
                r = snap_answers_new(&a->answers, err);
        if (r == 0)
                r = snap_silent_new(&a->silent, err);
        if (r < 0)
                return r;
        *out = zp_steal(&a);
        return 0;
}

void snap_accelerator_free(struct snap_accelerator *a) {
        if (!a)
                return;
        snap_answers_free(a->answers);
        snap_silent_free(a->silent);
        zp_learned_free(a->acquire.learned);
        snap_preloads_free(a->acquire.preloads);
        free(a->policy);
        free(a->auth_file);
        free(a->ca_file);
        free(a->agent);
        free(a);
}

int snap_accelerator_restore(struct snap_accelerator *a, const struct snap_base *base, const struct zp_cancel *cancel,
                             struct zp_error *err) {
        return snap_acquire_again(&a->acquire, &base->manifest_digest, base->reference, cancel, err);
}

/* ---- images ---- */

static uint64_t now_us(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static void tell(struct snap_accelerator *a, const struct snap_question *question, int result, uint64_t took_us,
                 const struct zp_error *reason) {
        char digest[ZP_DIGEST_TEXT_SIZE], took_ms[24];
        struct zp_error err = { 0 };
        struct snap_outcome outcome = { .manifest_digest = question->manifest_digest,
                                        .reference = question->reference,
                                        .reason = result < 0 ? reason->message : NULL };
        snprintf(took_ms, sizeof took_ms, "%" PRIu64, took_us / 1000);
        if (a->metrics)
                snap_metrics_decided(a->metrics, result, took_us);
        if (result < 0)
                snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", question->reference, "manifest",
                               zp_digest_text(&question->manifest_digest, digest), "reason", reason->message, "hint",
                               reason->hint[0] ? reason->hint : NULL, "took_ms", took_ms, NULL);
        else
                snap_log_event(SNAP_LOG_INFO, "image accelerated", "image", question->reference, "manifest",
                               zp_digest_text(&question->manifest_digest, digest), "took_ms", took_ms, NULL);
        if (snap_metastore_note(a->metastore, &outcome, &err) < 0)
                snap_log_event(SNAP_LOG_WARN, "cannot record what became of an image", "error", err.message, NULL);
}

/* What is here, or may be in a preload, needs no registry where nobody's right is checked. */
static bool needs_registry(struct snap_accelerator *a, const struct snap_question *image) {
        struct zp_image_record record = { 0 };
        bool is_here = snap_preloads_count(a->acquire.preloads) > 0;
        if (!a->acquire.check_rights && !is_here)
                is_here = zp_store_find_image(a->acquire.store, &image->manifest_digest, &record, NULL) == 1;
        zp_image_record_clear(&record);
        return a->acquire.check_rights || !is_here;
}

static int acquire(struct snap_accelerator *a, const struct snap_question *image, const struct snap_puller *puller,
                   const struct zp_cancel *cancel, struct zp_error *reason) {
        int r = needs_registry(a, image) ? snap_silent_check(a->silent, image->reference, reason) : 0;
        if (r < 0)
                return r;
        r = snap_acquire(&a->acquire, &image->manifest_digest, image->reference, puller, cancel, reason);
        if (snap_room_make_for_store(a->room, r)) {
                zp_error_clear(reason);
                r = snap_acquire(&a->acquire, &image->manifest_digest, image->reference, puller, cancel, reason);
        }
        if (r != -ECANCELED)
                snap_silent_note(a->silent, image->reference, r == -ETIMEDOUT);
        return r;
}

/* What was found out anew for somebody who pulls an image: without that, it was told before what becomes of it. */
struct news {
        bool is_any;
        uint64_t took_us;
};

/* Whether the image's snapshot is here, for the puller (NULL: the node). Asks once for all who want to know at the same
 * time; who does adds it to the news. */
static bool is_available_to(struct snap_accelerator *a, const struct snap_question *image,
                            const struct snap_puller *puller, const struct zp_cancel *cancel, struct news *news,
                            struct zp_error *why) {
        struct snap_question question = *image;
        struct zp_error reason = { 0 };
        size_t slot;
        if (puller)
                memcpy(question.puller, puller->fingerprint, sizeof question.puller);
        enum snap_answer answer = snap_answers_ask(a->answers, &question, &slot, why);
        if (answer != SNAP_ANSWER_UNKNOWN)
                return answer == SNAP_ANSWER_GOOD;
        uint64_t begun_us = now_us();
        int r = acquire(a, image, puller, cancel, &reason);
        if (r != -ECANCELED) {
                news->is_any = true;
                news->took_us += now_us() - begun_us;
                answer = r < 0 ? SNAP_ANSWER_BAD : SNAP_ANSWER_GOOD;
        } /* else: who gave up found nothing out */
        snap_answers_give(a->answers, slot, answer,
                          r < 0                     ? BAD_ANSWER_S
                          : a->acquire.check_rights ? RIGHT_S
                                                    : GOOD_ANSWER_S,
                          &reason);
        *why = reason;
        return r == 0;
}

/* Of a pod that brings nothing for the registry, the node's own credentials count. */
static bool is_node(const struct snap_puller *puller) {
        return puller->is_waiting && zp_credentials_are_empty(&puller->credentials);
}

/* One without the right keeps the image from all who pull it now; where rights are not checked, one who can fetch it
 * is enough. */
static bool is_available_to_each(struct snap_accelerator *a, const struct snap_question *image,
                                 const struct snap_puller *pullers, size_t count, const struct zp_cancel *cancel,
                                 struct news *news, struct zp_error *why) {
        bool is_available = false;
        for (size_t i = 0; i < count; i++) {
                const struct snap_puller *puller = is_node(&pullers[i]) ? NULL : &pullers[i];
                bool is_one = is_available_to(a, image, puller, cancel, news, why);
                if (!is_one && pullers[i].is_waiting && why->code == EACCES)
                        continue;
                is_available = is_one;
                if (is_available != a->acquire.check_rights)
                        break;
        }
        return is_available;
}

/* The same ones ask about an image once at a time, in whatever order they are: else two of its layers would each find
 * out about some of them, and each tell what becomes of it. The turn is a question that is never answered. */
static bool is_available_to_all(struct snap_accelerator *a, const struct snap_question *image,
                                const struct snap_puller *pullers, size_t count, const struct zp_cancel *cancel,
                                struct news *news, struct zp_error *why) {
        struct snap_question turn = *image;
        struct zp_error unused = { 0 };
        size_t slot;
        memset(turn.puller, 0xfe, sizeof turn.puller);
        for (size_t i = 0; i < count; i++)
                for (size_t byte = 0; byte < sizeof turn.puller; byte++)
                        turn.puller[byte] ^= pullers[i].fingerprint[byte];
        bool has_turn = count > 1 && snap_answers_ask(a->answers, &turn, &slot, &unused) == SNAP_ANSWER_UNKNOWN;
        bool is = is_available_to_each(a, image, pullers, count, cancel, news, why);
        if (has_turn)
                snap_answers_give(a->answers, slot, SNAP_ANSWER_UNKNOWN, 0, NULL);
        return is;
}

static int ask_agent(struct snap_accelerator *a, const struct snap_question *image, const struct zp_cancel *cancel,
                     struct snap_puller **out, size_t *count, struct zp_error *why) {
        bool is_missed = now_us() < a->agent_missed_us;
        struct snap_waiting_patience patience = { .begin_ms = is_missed ? 0 : AGENT_BEGIN_MS,
                                                  .answer_ms = a->acquire.timeout_ms,
                                                  .cancel = cancel };
        if (is_missed && patience.answer_ms > AGENT_HASTE_MS)
                patience.answer_ms = AGENT_HASTE_MS;
        int r = snap_waiting_pullers(a->agent, a->acquire.keychain, image->reference, &patience, out, count, why);
        if (r == 0)
                a->agent_missed_us = 0;
        else if (r == -EHOSTDOWN && !is_missed)
                a->agent_missed_us = now_us() + AGENT_MISSED_S * UINT64_C(1000000);
        return r;
}

static int find_pullers(struct snap_accelerator *a, const struct snap_question *image, const struct zp_cancel *cancel,
                        struct snap_puller **out, size_t *count, struct zp_error *why) {
        struct snap_keychain *keychain = a->acquire.keychain;
        if (a->agent)
                return ask_agent(a, image, cancel, out, count, why);
        return keychain ? snap_keychain_pullers(keychain, image->reference, out, count, why) : 0;
}

/* Whoever pulls it: what everybody may read, or, where rights are not checked, what the node can fetch. */
static bool is_available_to_anybody(struct snap_accelerator *a, const struct snap_question *image,
                                    const struct zp_cancel *cancel, struct news *news) {
        struct snap_puller nobody = { 0 };
        struct zp_error why = { 0 };
        if (!a->acquire.check_rights)
                return is_available_to(a, image, NULL, cancel, news, &why);
        return snap_keychain_identify(a->acquire.keychain, &nobody, &why) == 0 &&
               is_available_to(a, image, &nobody, cancel, news, &why);
}

/* That it was not found out who pulls this image is news once a minute: it is remembered as an answer to somebody who
 * never asks. */
static bool is_news(struct snap_accelerator *a, const struct snap_question *image) {
        struct snap_question question = *image;
        struct zp_error unused = { 0 };
        size_t slot;
        memset(question.puller, 0xff, sizeof question.puller);
        if (snap_answers_ask(a->answers, &question, &slot, &unused) != SNAP_ANSWER_UNKNOWN)
                return false;
        snap_answers_give(a->answers, slot, SNAP_ANSWER_BAD, BAD_ANSWER_S, NULL);
        return true;
}

static bool is_available(struct snap_accelerator *a, const struct snap_question *image, const struct zp_cancel *cancel,
                         struct zp_error *why) {
        struct snap_puller *pullers = NULL;
        struct news news = { 0 };
        size_t count = 0;
        bool is;
        int r = find_pullers(a, image, cancel, &pullers, &count, why);
        if (r < 0) {
                is = r != -ECANCELED && is_available_to_anybody(a, image, cancel, &news);
                news.is_any = is ? news.is_any : r != -ECANCELED && is_news(a, image);
        } else {
                is = count > 0 ? is_available_to_all(a, image, pullers, count, cancel, &news, why)
                               : is_available_to(a, image, NULL, cancel, &news, why);
        }
        snap_pullers_free(pullers, count);
        if (is)
                zp_error_clear(why); /* of one whom it does not depend on */
        if (news.is_any && why->code != ECANCELED)
                tell(a, image, is ? 0 : why->code ? -why->code : -EIO, news.took_us, why);
        return is;
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

/* 1: filled in, with no layers when the chain is none of the image's. 0: the store has lost the image since the answer.
 */
static int describe(struct snap_accelerator *a, const struct zp_digest *manifest, const struct zp_digest *target,
                    struct snap_base *base, struct zp_error *err) {
        struct zp_image_record image = { 0 };
        int r = zp_store_find_image(a->acquire.store, manifest, &image, err);
        if (r <= 0)
                return r;
        *base = (struct snap_base){ .chain_id = *target,
                                    .manifest_digest = *manifest,
                                    .layers = layers_of_chain(&image, target),
                                    .of = image.layer_count };
        zp_image_record_clear(&image);
        return 1;
}

int snap_accelerate(struct snap_accelerator *a, const struct snap_labels *labels, const struct zp_cancel *cancel,
                    struct snap_base *base, struct zp_error *why) {
        const char *target = snap_label_get(labels, SNAP_LABEL_TARGET);
        const char *manifest = snap_label_get(labels, SNAP_LABEL_MANIFEST);
        struct snap_question image = { .reference = snap_label_get(labels, SNAP_LABEL_IMAGE) };
        struct zp_digest chain_id;
        if (!target || !image.reference || !manifest)
                return 0;
        if (zp_digest_parse(target, &chain_id, why) < 0 || zp_digest_parse(manifest, &image.manifest_digest, why) < 0) {
                snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", image.reference, "reason", why->message,
                               NULL);
                return 0;
        }
        for (int attempt = 0; attempt < 2 && is_available(a, &image, cancel, why); attempt++) {
                int r = describe(a, &image.manifest_digest, &chain_id, base, why);
                base->reference = image.reference;
                if (r < 0)
                        snap_log_event(SNAP_LOG_WARN, "image not accelerated", "image", image.reference, "reason",
                                       why->message, NULL);
                if (r != 0)
                        return r > 0 && base->layers > 0;
                snap_answers_forget(a->answers, &image.manifest_digest);
        }
        return 0;
}
