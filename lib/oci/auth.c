/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/auth.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/buffer.h"
#include "oci/authorization.h"
#include "oci/scope.h"

#define GRANTS_MAX 16

struct grant {
        struct zp_challenge challenge;
        char *value; /* of the Authorization header */
        int64_t expires_s;
};

struct zp_auth {
        struct zp_http *http;
        char *registry, *repository, *auth_file, *credentials;
        const struct zp_keychain *keychain;
        pthread_mutex_t lock;
        pthread_cond_t renewed;
        /* guarded by lock */
        struct grant grants[GRANTS_MAX];
        unsigned grant_count;
        unsigned current; /* index of the grant to use */
        unsigned generation;
        bool is_renewing;            /* a thread is; signalled by `renewed` when it is done */
        bool has_looked;             /* `known` is what was found, and does not change any more */
        struct zp_credentials known; /* kept: a confined process can read no file and run no helper later */
};

static int64_t now_s(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return t.tv_sec;
}

static int out_of_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "authentication");
}

int zp_auth_new(struct zp_http *http, const struct zp_auth_options *options, struct zp_auth **out,
                struct zp_error *err) {
        struct zp_auth *auth = calloc(1, sizeof *auth);
        if (!auth)
                return out_of_memory(err);
        auth->http = http;
        auth->keychain = options->keychain;
        pthread_mutex_init(&auth->lock, NULL);
        pthread_cond_init(&auth->renewed, NULL);
        auth->registry = strdup(options->registry);
        auth->repository = strdup(options->repository);
        auth->auth_file = options->auth_file ? strdup(options->auth_file) : NULL;
        auth->credentials = options->credentials ? strdup(options->credentials) : NULL;
        if (!auth->registry || !auth->repository || (options->auth_file && !auth->auth_file) ||
            (options->credentials && !auth->credentials)) {
                zp_auth_free(auth);
                return out_of_memory(err);
        }
        *out = auth;
        return 0;
}

static void clear_grant(struct grant *grant) {
        zp_challenge_clear(&grant->challenge);
        zp_secret_free(grant->value);
        grant->value = NULL;
}

void zp_auth_free(struct zp_auth *auth) {
        for (unsigned i = 0; i < auth->grant_count; i++)
                clear_grant(&auth->grants[i]);
        pthread_cond_destroy(&auth->renewed);
        pthread_mutex_destroy(&auth->lock);
        free(auth->registry);
        free(auth->repository);
        free(auth->auth_file);
        zp_secret_free(auth->credentials);
        zp_credentials_clear(&auth->known);
        free(auth);
}

/* Who knows: the caller, the keychain, the files. */
static int ask(struct zp_auth *auth, struct zp_credentials *found, struct zp_error *err) {
        const struct zp_keychain *keychain = auth->keychain;
        if (auth->credentials)
                return zp_credentials_parse(auth->credentials, found, err);
        int r = keychain ? keychain->find(keychain->context, auth->registry, auth->repository, found, err) : 0;
        if (r != 0)
                return r < 0 ? r : 0;
        return zp_auth_file_find(auth->auth_file, auth->registry, auth->repository, zp_http_cancel(auth->http), found,
                                 err);
}

/* Looks the credentials up and remembers them. */
static int look_up_credentials(struct zp_auth *auth, struct zp_credentials *out, struct zp_error *err) {
        struct zp_credentials found = { 0 };
        int r = ask(auth, &found, err);
        if (r == 0)
                r = zp_credentials_copy(&found, out, err);
        if (r == 0) {
                pthread_mutex_lock(&auth->lock);
                zp_credentials_clear(&auth->known);
                auth->known = found;
                auth->has_looked = true;
                found = (struct zp_credentials){ 0 };
                pthread_mutex_unlock(&auth->lock);
        }
        zp_credentials_clear(&found);
        return r;
}

/* Those known already, if any: by now the process may have confined itself so that it can neither read the
 * files nor run a helper. */
static int find_credentials(struct zp_auth *auth, bool *is_remembered, struct zp_credentials *out,
                            struct zp_error *err) {
        int r = 0;
        pthread_mutex_lock(&auth->lock);
        *is_remembered = auth->has_looked;
        if (*is_remembered)
                r = zp_credentials_copy(&auth->known, out, err);
        pthread_mutex_unlock(&auth->lock);
        return *is_remembered ? r : look_up_credentials(auth, out, err);
}

/* Talks to the network; no lock is held. What is remembered and refused is looked up again, once: a helper's
 * passwords may live shorter than a build. */
static int obtain(struct zp_auth *auth, const char *registry_url, const struct zp_challenge *challenge, bool is_refused,
                  char **value, int64_t *lifetime_s, struct zp_error *err) {
        struct zp_credentials known = { 0 };
        const struct zp_authorization_request request = { auth->http, auth->registry, registry_url, challenge, &known };
        bool is_remembered;
        int r = find_credentials(auth, &is_remembered, &known, err);
        if (r == 0 && !(is_remembered && is_refused))
                r = zp_authorization_obtain(&request, value, lifetime_s, err);
        if (is_remembered && (is_refused || r == -EACCES)) {
                zp_credentials_clear(&known);
                r = look_up_credentials(auth, &known, err);
                if (r == 0)
                        r = zp_authorization_obtain(&request, value, lifetime_s, err);
        }
        zp_credentials_clear(&known);
        return r;
}

static bool same_challenge(const struct zp_challenge *a, const struct zp_challenge *b) {
        return a->scheme == b->scheme && strcmp(a->realm, b->realm) == 0 && strcmp(a->service, b->service) == 0 &&
               strcmp(a->scope, b->scope) == 0;
}

/* Takes over challenge and value. */
static void store(struct zp_auth *auth, struct zp_challenge *challenge, char *value, int64_t lifetime_s) {
        /* A token is renewed when nine tenths of its life are over, for clocks and queues. */
        struct grant grant = {
                .challenge = *challenge,
                .value = value,
                .expires_s = now_s() + lifetime_s - (lifetime_s + 9) / 10,
        };
        *challenge = (struct zp_challenge){ 0 };
        pthread_mutex_lock(&auth->lock);
        unsigned i = 0;
        while (i < auth->grant_count && !same_challenge(&auth->grants[i].challenge, &grant.challenge))
                i++;
        if (i == GRANTS_MAX)
                i = 0;
        if (i < auth->grant_count)
                clear_grant(&auth->grants[i]);
        else
                auth->grant_count++;
        auth->grants[i] = grant;
        auth->current = i;
        auth->generation++;
        pthread_mutex_unlock(&auth->lock);
}

/* One thread at a time renews; the others wait and see what it has got. They wait no longer than its exchanges take,
 * which end when the work is cancelled. Returns the generation at the caller's turn. */
static unsigned begin_renewal(struct zp_auth *auth) {
        pthread_mutex_lock(&auth->lock);
        while (auth->is_renewing)
                pthread_cond_wait(&auth->renewed, &auth->lock);
        auth->is_renewing = true;
        unsigned generation = auth->generation;
        pthread_mutex_unlock(&auth->lock);
        return generation;
}

static void end_renewal(struct zp_auth *auth) {
        pthread_mutex_lock(&auth->lock);
        auth->is_renewing = false;
        pthread_cond_broadcast(&auth->renewed);
        pthread_mutex_unlock(&auth->lock);
}

static int renew(struct zp_auth *auth, const char *registry_url, struct zp_challenge *challenge, bool is_refused,
                 struct zp_error *err) {
        char *value = NULL;
        int64_t lifetime_s;
        int r = obtain(auth, registry_url, challenge, is_refused, &value, &lifetime_s, err);
        if (r == 0)
                store(auth, challenge, value, lifetime_s);
        return r;
}

static int copy_challenge(const struct zp_challenge *from, struct zp_challenge *to) {
        *to = (struct zp_challenge){
                .scheme = from->scheme,
                .realm = strdup(from->realm),
                .service = strdup(from->service),
                .scope = strdup(from->scope),
        };
        return to->realm && to->service && to->scope ? 0 : -ENOMEM;
}

int zp_auth_header(struct zp_auth *auth, const char *registry_url, char **value, unsigned *generation,
                   struct zp_error *err) {
        for (bool has_renewed = false;; has_renewed = true) {
                struct zp_challenge expired = { 0 };
                int r = 0;
                *value = NULL;
                pthread_mutex_lock(&auth->lock);
                const struct grant *grant = auth->grant_count ? &auth->grants[auth->current] : NULL;
                bool is_valid = grant && (now_s() < grant->expires_s || has_renewed);
                *generation = auth->generation;
                if (is_valid)
                        *value = strdup(grant->value);
                else if (grant)
                        r = copy_challenge(&grant->challenge, &expired);
                pthread_mutex_unlock(&auth->lock);
                if (r < 0 || (is_valid && !*value)) {
                        zp_challenge_clear(&expired);
                        return out_of_memory(err);
                }
                if (!grant || is_valid)
                        return 0;
                if (begin_renewal(auth) == *generation)
                        r = renew(auth, registry_url, &expired, false, err);
                end_renewal(auth);
                zp_challenge_clear(&expired);
                if (r < 0)
                        return r;
        }
}

int zp_auth_current(struct zp_auth *auth, char **value, unsigned *generation, struct zp_error *err) {
        int r = 0;
        *value = NULL;
        pthread_mutex_lock(&auth->lock);
        const struct grant *grant = auth->grant_count ? &auth->grants[auth->current] : NULL;
        *generation = auth->generation;
        if (grant && now_s() > grant->expires_s) /* not >=: one that lives for a second must be good for something */
                r = -EAGAIN;
        else if (grant && !(*value = strdup(grant->value)))
                r = out_of_memory(err);
        pthread_mutex_unlock(&auth->lock);
        return r;
}

/* What to ask for: the challenge's scope and, from the same server, that of the grant in use. Threads that push
 * and threads that only look would take each other's token away otherwise. */
static int widen(struct zp_auth *auth, const struct zp_challenge *challenge, unsigned generation,
                 struct zp_challenge *wide, bool *is_answered, struct zp_error *err) {
        zp_autofree char *scope = NULL;
        pthread_mutex_lock(&auth->lock);
        const struct zp_challenge *now = auth->grant_count ? &auth->grants[auth->current].challenge : NULL;
        bool is_same_server = now && now->scheme == challenge->scheme && strcmp(now->realm, challenge->realm) == 0 &&
                              strcmp(now->service, challenge->service) == 0;
        /* By another thread, meanwhile. */
        *is_answered =
                auth->generation != generation && is_same_server && zp_scope_covers(now->scope, challenge->scope);
        scope = is_same_server ? zp_scope_merge(now->scope, challenge->scope) : strdup(challenge->scope);
        pthread_mutex_unlock(&auth->lock);
        if (!scope || copy_challenge(challenge, wide) < 0)
                return out_of_memory(err);
        free(wide->scope);
        wide->scope = zp_steal(&scope);
        return 0;
}

static int answer(struct zp_auth *auth, const char *registry_url, struct zp_challenge *challenge, unsigned generation,
                  struct zp_error *err) {
        struct zp_challenge wide = { 0 };
        bool is_answered;
        begin_renewal(auth);
        int r = widen(auth, challenge, generation, &wide, &is_answered, err);
        if (r == 0 && !is_answered) {
                /* A password that was sent and not accepted: generation 0 is before anything was. */
                bool is_refused = challenge->scheme == ZP_CHALLENGE_BASIC && generation > 0;
                bool is_wider = strcmp(wide.scope, challenge->scope) != 0;
                r = renew(auth, registry_url, &wide, is_refused, err);
                if (r == -EACCES && is_wider) { /* some servers give all or nothing */
                        if (err)
                                zp_error_clear(err);
                        r = renew(auth, registry_url, challenge, is_refused, err);
                }
        }
        end_renewal(auth);
        zp_challenge_clear(&wide);
        return r;
}

int zp_auth_answer(struct zp_auth *auth, const char *registry_url, const char *challenges, const char *actions,
                   unsigned generation, struct zp_error *err) {
        struct zp_challenge challenge;
        int r = zp_challenge_parse(challenges, &challenge, err);
        if (r < 0)
                return r;
        if (challenge.scheme == ZP_CHALLENGE_BEARER && !challenge.scope[0]) {
                free(challenge.scope);
                challenge.scope = zp_format("repository:%s:%s", auth->repository, actions);
        }
        r = challenge.scope ? answer(auth, registry_url, &challenge, generation, err) : out_of_memory(err);
        zp_challenge_clear(&challenge);
        return r;
}
