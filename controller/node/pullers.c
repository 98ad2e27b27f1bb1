/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/pullers.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "controller/log.h"
#include "controller/node/secrets.h"
#include "oci/auth-file.h"
#include "oci/json.h"
#include "oci/reference.h"
#include "snapshotter/keychain/exchange.h"
#include "snapshotter/keychain/keychain.h"
#include "snapshotter/keychain/listener.h"
#include "snapshotter/keychain/waiting.h"

#define QUESTION_MAX 4096
#define PATIENCE_MS 2000
#define ANSWERS_MAX 16
/* How long our first list of pods is waited for; without it there is no answer. */
#define LIST_MS 4000
/* How much later than the kubelet we may hear of a pod. */
#define LATE_MS 1000
/* An image's layers are asked for one after the other: what was found out for the first is kept for so long. */
#define KEPT_S 10
/* For an API server's answer about one of them: a pull waits for it. */
#define SECRET_MS 3000
#define KEPT_MAX 64

struct node_pullers {
        struct zp_kube *kube;
        struct node_bound *bound;
        struct snap_listener *listener;
        pthread_mutex_t lock; /* guards all below */
        pthread_cond_t ended;
        unsigned answers; /* under way */
        json_t *kept;     /* pull secrets, as text, to {text, until: monotonic seconds} */
        json_t *nobodys;  /* images that no pod named, to until when they are not waited for again */
};

static time_t now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

static void complain(const char *image, const struct zp_error *err) {
        if (err->code != ECANCELED)
                ctl_log(CTL_LOG_WARNING, "who pulls %s: %s", image, err->message);
}

/* ---- pull secrets ---- */

/* 1: *text (NULL: they say nothing) was read a moment ago. */
static int recall(struct node_pullers *p, const char *key, char **text) {
        pthread_mutex_lock(&p->lock);
        json_t *kept = json_object_get(p->kept, key);
        bool is_known = kept && json_integer_value(json_object_get(kept, "until")) > now_s();
        const char *known = json_string_value(json_object_get(kept, "text"));
        *text = is_known && known ? strdup(known) : NULL;
        pthread_mutex_unlock(&p->lock);
        return is_known;
}

static void keep(struct node_pullers *p, const char *key, const char *text) {
        pthread_mutex_lock(&p->lock);
        if (json_object_size(p->kept) >= KEPT_MAX)
                json_object_clear(p->kept);
        json_object_set_new(p->kept, key,
                            json_pack("{s:s?, s:I}", "text", text, "until", (json_int_t) (now_s() + KEPT_S)));
        pthread_mutex_unlock(&p->lock);
}

/* *text: all of them as one docker configuration; NULL: nothing. What cannot be read is as if it were not there, as for
 * the kubelet; what cannot be read now may be there, and nothing is kept. */
static int read_secrets(struct node_pullers *p, json_t *secrets, const char *image, char **text, struct zp_error *err) {
        struct zp_error unread = { 0 };
        zp_autofree char *key = json_dumps(secrets, JSON_COMPACT);
        *text = NULL;
        if (!key)
                return zp_error_errno(err, ENOMEM, "pull secrets");
        if (json_array_size(secrets) == 0 || recall(p, key, text))
                return 0;
        int r = node_secrets_read(p->kube, secrets, SECRET_MS, text, &unread, err);
        if (unread.code)
                complain(image, &unread);
        if (r == 0)
                keep(p, key, *text);
        return r;
}

/* ---- pods ---- */

/* Who names the image; one that nobody did a moment ago is not waited for again. */
static int find_pods(struct node_pullers *p, const char *name, json_t **out, struct zp_error *err) {
        pthread_mutex_lock(&p->lock);
        bool is_nobodys = json_integer_value(json_object_get(p->nobodys, name)) > now_s();
        pthread_mutex_unlock(&p->lock);
        int r = node_bound_await(p->bound, LIST_MS, err);
        if (r == 0)
                r = node_bound_find(p->bound, name, is_nobodys ? 0 : LATE_MS, out, err);
        if (r < 0 || is_nobodys || json_array_size(*out) > 0)
                return r;
        pthread_mutex_lock(&p->lock);
        if (json_object_size(p->nobodys) >= KEPT_MAX)
                json_object_clear(p->nobodys);
        json_object_set_new(p->nobodys, name, json_integer(now_s() + KEPT_S));
        pthread_mutex_unlock(&p->lock);
        return 0;
}

/* ---- an answer ---- */

static json_t *puller_object(const struct zp_credentials *c) {
        if (c->identity_token)
                return json_pack("{s:s}", "identityToken", c->identity_token);
        if (c->registry_token)
                return json_pack("{s:s}", "registryToken", c->registry_token);
        return json_pack("{s:s*, s:s*}", "username", c->username, "password", c->password);
}

static int add_puller(struct node_pullers *p, json_t *secrets, const char *image, const struct zp_reference *reference,
                      json_t *out, struct zp_error *err) {
        struct zp_credentials found = { 0 };
        struct zp_error unusable = { 0 };
        char *text = NULL;
        int r = read_secrets(p, secrets, image, &text, err);
        if (r == 0 && text &&
            zp_auth_file_parse(text, strlen(text), "pull secrets", reference->registry, reference->repository, NULL,
                               &found, &unusable) < 0)
                complain(image, &unusable);
        if (r == 0 && json_array_append_new(out, puller_object(&found)) < 0)
                r = zp_error_errno(err, ENOMEM, "pull secrets");
        zp_credentials_clear(&found);
        node_secret_free(text);
        return r;
}

static int find_pullers(struct node_pullers *p, const char *image, json_t *out, struct zp_error *err) {
        zp_autofree char *name = NULL;
        zp_auto(json_decref) json_t *pods = NULL;
        struct zp_reference reference = { 0 };
        json_t *secrets;
        size_t i;
        int r = snap_keychain_normal_name(image, &name, err);
        if (r == 0)
                r = zp_reference_parse(name, &reference, err);
        if (r == 0)
                r = find_pods(p, name, &pods, err);
        json_array_foreach(pods, i, secrets) {
                if (r == 0)
                        r = add_puller(p, secrets, image, &reference, out, err);
        }
        zp_reference_clear(&reference);
        return r;
}

static void send_answer(int fd, json_t *pullers) {
        zp_auto(json_decref) json_t *answer = json_pack("{s:O}", "pullers", pullers);
        char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
        if (text && strlen(text) <= SNAP_WAITING_MAX)
                snap_exchange_send(fd, text, strlen(text));
        node_secret_free(text);
}

/* Who gets no answer gives the image to nobody whose right has to be known. */
static void answer(struct node_pullers *p, int fd) {
        zp_autobuffer struct zp_buffer question = { 0 };
        zp_auto(json_decref) json_t *pullers = json_array();
        struct zp_error err = { 0 };
        snap_exchange_set_patience(fd, PATIENCE_MS);
        if (!pullers || !snap_exchange_receive(fd, QUESTION_MAX, &question) || !question.data)
                return;
        if (find_pullers(p, question.data, pullers, &err) == 0)
                send_answer(fd, pullers);
        else
                complain(question.data, &err);
}

/* ---- many at a time ---- */

struct conversation {
        struct node_pullers *pullers;
        int fd;
};

static void *converse(void *context) {
        struct conversation *c = context;
        struct node_pullers *p = c->pullers;
        answer(p, c->fd);
        close(c->fd);
        free(c);
        pthread_mutex_lock(&p->lock);
        p->answers--;
        pthread_cond_broadcast(&p->ended);
        pthread_mutex_unlock(&p->lock);
        return NULL;
}

/* On the listener's thread, which waits while all have something to do. */
static void accepted(void *context, int fd) {
        struct node_pullers *p = context;
        struct conversation *c = malloc(sizeof *c);
        pthread_t thread;
        if (!c) {
                close(fd);
                return;
        }
        *c = (struct conversation){ p, fd };
        pthread_mutex_lock(&p->lock);
        while (p->answers >= ANSWERS_MAX)
                pthread_cond_wait(&p->ended, &p->lock);
        p->answers++;
        pthread_mutex_unlock(&p->lock);
        if (pthread_create(&thread, NULL, converse, c) == 0)
                pthread_detach(thread);
        else
                converse(c);
}

static void clear(struct node_pullers *p) {
        pthread_mutex_lock(&p->lock);
        while (p->answers > 0)
                pthread_cond_wait(&p->ended, &p->lock);
        pthread_mutex_unlock(&p->lock);
        pthread_cond_destroy(&p->ended);
        pthread_mutex_destroy(&p->lock);
        json_decref(p->kept);
        json_decref(p->nobodys);
        free(p);
}

int node_pullers_start(const char *path, struct zp_kube *kube, struct node_bound *bound, struct node_pullers **out,
                       struct zp_error *err) {
        struct node_pullers *p = calloc(1, sizeof *p);
        if (!p)
                return zp_error_errno(err, ENOMEM, "pull secrets");
        p->kube = kube;
        p->bound = bound;
        pthread_mutex_init(&p->lock, NULL);
        pthread_cond_init(&p->ended, NULL);
        p->kept = json_object();
        p->nobodys = json_object();
        int r = p->kept && p->nobodys ? snap_listener_new(path, accepted, p, &p->listener, err)
                                      : zp_error_errno(err, ENOMEM, "pull secrets");
        if (r < 0) {
                clear(p);
                return r;
        }
        *out = p;
        return 0;
}

void node_pullers_stop(struct node_pullers *p) {
        snap_listener_free(p->listener);
        clear(p);
}
