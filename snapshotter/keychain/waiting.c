/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/waiting.h"

#include <string.h>

#include "base/unix-socket.h"
#include "oci/fetch.h"
#include "oci/json.h"
#include "snapshotter/keychain/exchange.h"

#define LOOK_MS 100

/* For a socket that nobody has made yet, or that the last agent left behind; or one whose agent has yet to take others'
 * questions. */
static unsigned patience_with(int error, const struct snap_waiting_patience *patience) {
        return error == ENOENT || error == ECONNREFUSED ? patience->begin_ms
               : error == EAGAIN                        ? patience->answer_ms
                                                        : 0;
}

/* What is wrong here is no agent that is away. */
static int not_connected(int error, const char *path, struct zp_error *err) {
        bool is_away = error == ENOENT || error == ECONNREFUSED || error == EAGAIN;
        return zp_error_set(err, is_away ? EHOSTDOWN : error, "the node's agent '%s' cannot be asked who pulls: %s",
                            path, strerrordesc_np(error));
}

static int connect_when_there(const char *path, const struct snap_waiting_patience *patience, struct zp_error *err) {
        uint64_t begun_ms = zp_clock_ms();
        int fd;
        while ((fd = zp_unix_connect(path, SOCK_STREAM | SOCK_NONBLOCK, NULL)) < 0) {
                if (zp_cancelled(patience->cancel))
                        return zp_error_set(err, ECANCELED, "interrupted");
                if (zp_clock_ms() - begun_ms >= patience_with(-fd, patience))
                        return not_connected(-fd, path, err);
                zp_pause(LOOK_MS, NULL);
        }
        return fd;
}

static int ask(const char *path, const char *reference, const struct snap_waiting_patience *patience,
               struct zp_buffer *reply, struct zp_error *err) {
        zp_autoclose int fd = connect_when_there(path, patience, err);
        if (fd < 0)
                return fd;
        uint64_t until_ms = zp_clock_ms() + patience->answer_ms;
        if (snap_exchange_send(fd, reference, strlen(reference)) && shutdown(fd, SHUT_WR) == 0 &&
            snap_exchange_receive_by(fd, SNAP_WAITING_MAX, until_ms, patience->cancel, reply) && reply->size > 0)
                return 0;
        int r = zp_check_cancel(patience->cancel, err);
        return r < 0 ? r : zp_error_set(err, EHOSTDOWN, "the node's agent '%s' did not say who pulls", path);
}

static int read_text(json_t *object, const char *key, char **out, struct zp_error *err) {
        const char *text = NULL;
        int r = zp_json_text(object, key, ZP_JSON_OPTIONAL, "the node's agent", &text, err);
        *out = r == 0 && text ? strdup(text) : NULL;
        return r == 0 && text && !*out ? zp_error_errno(err, ENOMEM, "credentials") : r;
}

static int read_credentials(json_t *object, struct zp_credentials *out, struct zp_error *err) {
        int r = json_is_object(object) ? 0 : zp_error_set(err, EBADMSG, "the node's agent: a puller is no object");
        if (r == 0)
                r = read_text(object, "username", &out->username, err);
        if (r == 0)
                r = read_text(object, "password", &out->password, err);
        if (r == 0)
                r = read_text(object, "identityToken", &out->identity_token, err);
        if (r == 0)
                r = read_text(object, "registryToken", &out->registry_token, err);
        return r;
}

static bool is_among(const struct snap_puller *pullers, size_t count, const struct snap_puller *one) {
        for (size_t i = 0; i < count; i++)
                if (memcmp(pullers[i].fingerprint, one->fingerprint, sizeof one->fingerprint) == 0)
                        return true;
        return false;
}

static int read_pullers(json_t *list, struct snap_keychain *keychain, struct snap_puller *out, size_t *count,
                        struct zp_error *err) {
        json_t *item;
        size_t i;
        json_array_foreach(list, i, item) {
                struct snap_puller *puller = &out[*count];
                puller->is_waiting = true;
                int r = read_credentials(item, &puller->credentials, err);
                if (r == 0)
                        r = snap_keychain_identify(keychain, puller, err);
                if (r < 0 || is_among(out, *count, puller))
                        zp_credentials_clear(&puller->credentials);
                else
                        ++*count;
                if (r < 0)
                        return r;
        }
        return 0;
}

int snap_waiting_pullers(const char *path, struct snap_keychain *keychain, const char *reference,
                         const struct snap_waiting_patience *patience, struct snap_puller **out, size_t *count,
                         struct zp_error *err) {
        struct zp_buffer reply = { 0 };
        zp_auto(json_decref) json_t *answer = NULL;
        json_t *list = NULL;
        *out = NULL;
        *count = 0;
        int r = ask(path, reference, patience, &reply, err);
        if (r == 0)
                r = zp_json_load(reply.data, reply.size, "the node's agent", &answer, err);
        if (r == 0)
                r = zp_json_get(answer, "pullers", JSON_ARRAY, ZP_JSON_REQUIRED, "the node's agent", &list, err);
        snap_exchange_wipe(&reply);
        if (r < 0)
                return r;
        *out = calloc(json_array_size(list) + 1, sizeof **out);
        r = *out ? read_pullers(list, keychain, *out, count, err) : zp_error_errno(err, ENOMEM, "credentials");
        if (r < 0) {
                snap_pullers_free(*out, *count);
                *out = NULL;
                *count = 0;
        }
        return r;
}
