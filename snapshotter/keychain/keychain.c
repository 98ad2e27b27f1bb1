/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/keychain.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/buffer.h"
#include "base/digest.h"
#include "oci/reference.h"

/* How long containerd takes to notice that a pull is not wanted any more, at most. */
#define CUT_S 10

struct pull {
        struct pull *next;
        uint64_t number;
        char *reference; /* normalised */
        struct zp_credentials credentials;
        time_t until; /* monotonic seconds; 0: it goes on */
};

struct memory {
        char *place; /* "registry/repository"; NULL: free */
        struct zp_credentials credentials;
        time_t since; /* monotonic seconds */
};

struct snap_keychain {
        uint8_t salt[16];
        pthread_mutex_t lock;
        /* guarded by lock */
        struct pull *pulls;
        uint64_t last_number;
        struct memory memories[SNAP_KEYCHAIN_MEMORY];
};

static int no_memory(struct zp_error *err) {
        return zp_error_errno(err, ENOMEM, "credentials");
}

static time_t now_s(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

int snap_keychain_new(struct snap_keychain **out, struct zp_error *err) {
        struct snap_keychain *keychain = calloc(1, sizeof *keychain);
        if (!keychain)
                return no_memory(err);
        pthread_mutex_init(&keychain->lock, NULL);
        if (getrandom(keychain->salt, sizeof keychain->salt, 0) != sizeof keychain->salt) {
                snap_keychain_free(keychain);
                return zp_error_set(err, EIO, "credentials: no random numbers");
        }
        *out = keychain;
        return 0;
}

static void free_pull(struct pull *pull) {
        zp_credentials_clear(&pull->credentials);
        free(pull->reference);
        free(pull);
}
ZP_DEFINE_AUTO(struct pull, free_pull);

static void forget(struct memory *memory) {
        zp_credentials_clear(&memory->credentials);
        free(memory->place);
        memory->place = NULL;
}

void snap_keychain_free(struct snap_keychain *keychain) {
        if (!keychain)
                return;
        for (struct pull *pull = keychain->pulls, *next; pull; pull = next) {
                next = pull->next;
                free_pull(pull);
        }
        for (size_t i = 0; i < SNAP_KEYCHAIN_MEMORY; i++)
                forget(&keychain->memories[i]);
        pthread_mutex_destroy(&keychain->lock);
        free(keychain);
}

/* ---- pulls ---- */

int snap_keychain_normal_name(const char *reference, char **out, struct zp_error *err) {
        struct zp_reference parsed;
        int r = zp_reference_parse(reference, &parsed, err);
        if (r < 0)
                return r;
        if (parsed.has_digest) {
                free(parsed.tag);
                parsed.tag = NULL;
        }
        *out = zp_reference_text(&parsed);
        zp_reference_clear(&parsed);
        return *out ? 0 : no_memory(err);
}

/* Under the lock. Those that were cut, and have had their time. */
static void drop_ended(struct snap_keychain *keychain) {
        time_t now = now_s();
        for (struct pull **at = &keychain->pulls; *at;) {
                struct pull *pull = *at;
                if (!pull->until || now < pull->until) {
                        at = &pull->next;
                        continue;
                }
                *at = pull->next;
                free_pull(pull);
        }
}

int snap_keychain_begin(struct snap_keychain *keychain, const char *reference, struct zp_credentials *credentials,
                        uint64_t *number, struct zp_error *err) {
        zp_auto(free_pull) struct pull *pull = calloc(1, sizeof *pull);
        if (!pull) {
                zp_credentials_clear(credentials);
                return no_memory(err);
        }
        pull->credentials = *credentials;
        *credentials = (struct zp_credentials){ 0 };
        int r = snap_keychain_normal_name(reference, &pull->reference, err);
        if (r < 0)
                return r;
        pthread_mutex_lock(&keychain->lock);
        drop_ended(keychain);
        pull->number = *number = ++keychain->last_number;
        pull->next = keychain->pulls;
        keychain->pulls = zp_steal(&pull);
        pthread_mutex_unlock(&keychain->lock);
        return 0;
}

void snap_keychain_end(struct snap_keychain *keychain, uint64_t number, bool is_cut) {
        pthread_mutex_lock(&keychain->lock);
        for (struct pull *pull = keychain->pulls; pull; pull = pull->next)
                if (pull->number == number)
                        pull->until = now_s() + (is_cut ? CUT_S : 0);
        drop_ended(keychain);
        pthread_mutex_unlock(&keychain->lock);
}

/* ---- pullers ---- */

static void take_fingerprint(const struct snap_keychain *keychain, struct zp_sha256 *hash, struct snap_puller *puller) {
        const struct zp_credentials *c = &puller->credentials;
        const char *const parts[] = { c->username, c->password, c->identity_token, c->registry_token };
        struct zp_digest digest;
        zp_sha256_update(hash, keychain->salt, sizeof keychain->salt);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
                zp_sha256_update(hash, parts[i] ? "+" : "-", 1);
                if (parts[i])
                        zp_sha256_update(hash, parts[i], strlen(parts[i]) + 1);
        }
        zp_sha256_finish(hash, &digest);
        memcpy(puller->fingerprint, digest.bytes, sizeof puller->fingerprint);
}

int snap_keychain_identify(const struct snap_keychain *keychain, struct snap_puller *puller, struct zp_error *err) {
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        if (!hash)
                return no_memory(err);
        take_fingerprint(keychain, hash, puller);
        return 0;
}

void snap_pullers_free(struct snap_puller *pullers, size_t count) {
        for (size_t i = 0; i < count; i++)
                zp_credentials_clear(&pullers[i].credentials);
        free(pullers);
}

static bool is_among(const struct snap_puller *pullers, size_t count, const struct snap_puller *one) {
        for (size_t i = 0; i < count; i++)
                if (memcmp(pullers[i].fingerprint, one->fingerprint, sizeof one->fingerprint) == 0)
                        return true;
        return false;
}

/* Under the lock. */
static int collect(const struct snap_keychain *keychain, const char *reference, struct zp_sha256 *hash,
                   struct snap_puller *pullers, size_t *count, struct zp_error *err) {
        for (const struct pull *pull = keychain->pulls; pull; pull = pull->next) {
                struct snap_puller *puller = &pullers[*count];
                if (strcmp(pull->reference, reference) != 0)
                        continue;
                int r = zp_credentials_copy(&pull->credentials, &puller->credentials, err);
                if (r < 0)
                        return r;
                take_fingerprint(keychain, hash, puller);
                if (is_among(pullers, *count, puller))
                        zp_credentials_clear(&puller->credentials);
                else
                        ++*count;
        }
        return 0;
}

static size_t count_pulls(const struct snap_keychain *keychain) {
        size_t count = 0;
        for (const struct pull *pull = keychain->pulls; pull; pull = pull->next)
                count++;
        return count;
}

int snap_keychain_pullers(struct snap_keychain *keychain, const char *reference, struct snap_puller **out,
                          size_t *count, struct zp_error *err) {
        zp_autofree char *normal = NULL;
        *count = 0;
        int r = snap_keychain_normal_name(reference, &normal, err);
        if (r < 0)
                return r;
        zp_auto(zp_sha256_free) struct zp_sha256 *hash = zp_sha256_new();
        pthread_mutex_lock(&keychain->lock);
        drop_ended(keychain);
        *out = calloc(count_pulls(keychain) + 1, sizeof **out);
        r = hash && *out ? collect(keychain, normal, hash, *out, count, err) : no_memory(err);
        pthread_mutex_unlock(&keychain->lock);
        if (r < 0) {
                snap_pullers_free(*out, *count);
                *out = NULL;
                *count = 0;
        }
        return r;
}

/* ---- memory ---- */

/* That of the place, else a free one, else the oldest. What has expired goes. */
static struct memory *find_memory(struct snap_keychain *keychain, const char *place) {
        struct memory *best = NULL;
        time_t now = now_s();
        for (size_t i = 0; i < SNAP_KEYCHAIN_MEMORY; i++) {
                struct memory *memory = &keychain->memories[i];
                if (memory->place && now - memory->since > SNAP_KEYCHAIN_MEMORY_S)
                        forget(memory);
                if (memory->place && strcmp(memory->place, place) == 0)
                        return memory;
                if (!best || (best->place && (!memory->place || memory->since < best->since)))
                        best = memory;
        }
        return best;
}

void snap_keychain_remember(struct snap_keychain *keychain, const char *registry, const char *repository,
                            const struct zp_credentials *credentials) {
        zp_autofree char *place = zp_format("%s/%s", registry, repository);
        struct zp_credentials copy;
        if (!place || zp_credentials_copy(credentials, &copy, NULL) < 0)
                return; /* what is not remembered is not used: no harm but a read that the files must serve */
        pthread_mutex_lock(&keychain->lock);
        struct memory *memory = find_memory(keychain, place);
        forget(memory);
        *memory = (struct memory){ .place = zp_steal(&place), .credentials = copy, .since = now_s() };
        pthread_mutex_unlock(&keychain->lock);
}

int snap_keychain_recall(void *context, const char *registry, const char *repository, struct zp_credentials *out,
                         struct zp_error *err) {
        struct snap_keychain *keychain = context;
        zp_autofree char *place = zp_format("%s/%s", registry, repository);
        if (!place)
                return no_memory(err);
        pthread_mutex_lock(&keychain->lock);
        const struct memory *memory = find_memory(keychain, place);
        bool is_known = memory->place && strcmp(memory->place, place) == 0;
        int r = is_known ? zp_credentials_copy(&memory->credentials, out, err) : 0;
        pthread_mutex_unlock(&keychain->lock);
        return r < 0 ? r : is_known;
}
