/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/control/answers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWERS_MAX 256

struct slot {
        struct snap_question question; /* its reference is the slot's own; NULL: never used */
        bool is_pending;
        enum snap_answer answer;
        int code; /* of a BAD one */
        char *why;
        time_t until; /* monotonic seconds */
};

struct snap_answers {
        pthread_mutex_t lock;
        pthread_cond_t changed;
        struct slot slots[ANSWERS_MAX]; /* guarded by lock */
};

static time_t now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

int snap_answers_new(struct snap_answers **out, struct zp_error *err) {
        *out = calloc(1, sizeof **out);
        if (!*out)
                return zp_error_errno(err, ENOMEM, "acceleration");
        pthread_mutex_init(&(*out)->lock, NULL);
        pthread_cond_init(&(*out)->changed, NULL);
        return 0;
}

void snap_answers_free(struct snap_answers *answers) {
        if (!answers)
                return;
        for (size_t i = 0; i < ANSWERS_MAX; i++) {
                free((char *) answers->slots[i].question.reference);
                free(answers->slots[i].why);
        }
        pthread_mutex_destroy(&answers->lock);
        pthread_cond_destroy(&answers->changed);
        free(answers);
}

static bool is_same(const struct snap_question *a, const struct snap_question *b) {
        return a->reference && zp_digest_equal(&a->manifest_digest, &b->manifest_digest) &&
               memcmp(a->puller, b->puller, sizeof a->puller) == 0 && strcmp(a->reference, b->reference) == 0;
}

/* That of the question, or NULL; *unused: the one to be used for it, not used yet or the one that ends first, NULL: all
 * are pending. */
static struct slot *find(struct snap_answers *answers, const struct snap_question *question, struct slot **unused) {
        *unused = NULL;
        for (struct slot *slot = answers->slots; slot < answers->slots + ANSWERS_MAX; slot++) {
                if (is_same(&slot->question, question))
                        return slot;
                if (!slot->is_pending && (!*unused || slot->until < (*unused)->until))
                        *unused = slot;
        }
        return NULL;
}

/* The slot for it, once nobody else is about to find out; NULL: there is none. */
static struct slot *await(struct snap_answers *answers, const struct snap_question *question) {
        struct slot *slot, *unused;
        while ((slot = find(answers, question, &unused)) && slot->is_pending)
                pthread_cond_wait(&answers->changed, &answers->lock);
        if (slot || !unused)
                return slot;
        char *reference = strdup(question->reference);
        if (!reference)
                return NULL;
        free((char *) unused->question.reference);
        free(unused->why);
        *unused = (struct slot){ .question = *question };
        unused->question.reference = reference;
        return unused;
}

enum snap_answer snap_answers_ask(struct snap_answers *answers, const struct snap_question *question, size_t *slot,
                                  struct zp_error *why) {
        enum snap_answer answer = SNAP_ANSWER_BAD;
        pthread_mutex_lock(&answers->lock);
        struct slot *own = await(answers, question);
        if (own)
                answer = now_s() < own->until ? own->answer : SNAP_ANSWER_UNKNOWN;
        if (own && answer == SNAP_ANSWER_UNKNOWN) {
                own->is_pending = true;
                *slot = (size_t) (own - answers->slots);
        }
        if (own && answer == SNAP_ANSWER_BAD && own->why)
                zp_error_set(why, own->code, "%s", own->why);
        pthread_mutex_unlock(&answers->lock);
        return answer;
}

void snap_answers_give(struct snap_answers *answers, size_t slot, enum snap_answer answer, unsigned seconds,
                       const struct zp_error *why) {
        char *text = why && why->code ? strdup(why->message) : NULL;
        pthread_mutex_lock(&answers->lock);
        free(answers->slots[slot].why);
        answers->slots[slot].why = text;
        answers->slots[slot].code = why ? why->code : 0;
        answers->slots[slot].is_pending = false;
        answers->slots[slot].answer = answer;
        answers->slots[slot].until = now_s() + seconds;
        pthread_cond_broadcast(&answers->changed);
        pthread_mutex_unlock(&answers->lock);
}

void snap_answers_forget(struct snap_answers *answers, const struct zp_digest *manifest) {
        pthread_mutex_lock(&answers->lock);
        for (struct slot *slot = answers->slots; slot < answers->slots + ANSWERS_MAX; slot++)
                if (slot->answer == SNAP_ANSWER_GOOD && zp_digest_equal(&slot->question.manifest_digest, manifest))
                        slot->until = 0;
        pthread_mutex_unlock(&answers->lock);
}
