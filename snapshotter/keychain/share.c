/* SPDX-License-Identifier: Apache-2.0 */
#include "snapshotter/keychain/share.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/buffer.h"
#include "base/file.h"
#include "base/unix-socket.h"
#include "snapshotter/keychain/exchange.h"
#include "snapshotter/keychain/listener.h"

#define SOCKET_NAME "keychain.sock"
#define SOCKET_PATH_SIZE 64
#define QUESTION_MAX 4096
#define ANSWER_MAX (4 * 65537)
#define PATIENCE_MS 2000

struct snap_share {
        struct snap_keychain *keychain;
        int root;
        struct snap_listener *listener;
};

/* By the directory's descriptor, so that its path may be longer than a socket's address. */
static void socket_path(int root, char path[SOCKET_PATH_SIZE]) {
        snprintf(path, SOCKET_PATH_SIZE, "/proc/self/fd/%d/" SOCKET_NAME, root);
}

static int open_root(const char *root, struct zp_error *err) {
        int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
        return fd < 0 ? zp_error_errno(err, errno, "root directory '%s'", root) : fd;
}

/* ---- the side that knows ---- */

static bool put_text(struct zp_buffer *out, const char *text) {
        return text ? zp_buffer_text(out, "+") && zp_buffer_append(out, text, strlen(text) + 1)
                    : zp_buffer_text(out, "-");
}

static bool put_credentials(struct zp_buffer *out, const struct zp_credentials *credentials) {
        return put_text(out, credentials->username) && put_text(out, credentials->password) &&
               put_text(out, credentials->identity_token) && put_text(out, credentials->registry_token);
}

static void answer(struct snap_keychain *keychain, int fd) {
        zp_autobuffer struct zp_buffer question = { 0 };
        struct zp_credentials found = { 0 };
        struct zp_buffer reply = { 0 };
        snap_exchange_set_patience(fd, PATIENCE_MS);
        if (!snap_exchange_receive(fd, QUESTION_MAX, &question) || !question.data)
                return;
        const char *registry = question.data, *end = question.data + question.size;
        const char *repository = registry + strlen(registry) + 1;
        if (repository < end && repository + strlen(repository) + 1 == end &&
            snap_keychain_recall(keychain, registry, repository, &found, NULL) == 1 && put_credentials(&reply, &found))
                snap_exchange_send(fd, reply.data, reply.size);
        zp_credentials_clear(&found);
        snap_exchange_wipe(&reply);
}

static void accepted(void *context, int fd) {
        struct snap_share *share = context;
        answer(share->keychain, fd);
        close(fd);
}

int snap_share_new(const char *root, struct snap_keychain *keychain, struct snap_share **out, struct zp_error *err) {
        zp_auto(snap_share_free) struct snap_share *share = calloc(1, sizeof *share);
        char path[SOCKET_PATH_SIZE];
        if (!share)
                return zp_error_errno(err, ENOMEM, "credentials");
        share->keychain = keychain;
        share->root = open_root(root, err);
        if (share->root < 0)
                return share->root;
        socket_path(share->root, path);
        int r = snap_listener_new(path, accepted, share, &share->listener, err);
        if (r < 0)
                return r;
        *out = zp_steal(&share);
        return 0;
}

void snap_share_free(struct snap_share *share) {
        if (!share)
                return;
        snap_listener_free(share->listener);
        if (share->root >= 0)
                close(share->root);
        free(share);
}

/* ---- the side that asks ---- */

static const char *take_text(const char **at, const char *end, bool *ok) {
        if (*at >= end || (**at != '+' && **at != '-')) {
                *ok = false;
                return NULL;
        }
        if (*(*at)++ == '-')
                return NULL;
        const char *text = *at;
        *at += strlen(text) + 1; /* a buffer ends in a NUL */
        *ok = *ok && *at <= end;
        return text;
}

static int take_credentials(const struct zp_buffer *reply, struct zp_credentials *out, struct zp_error *err) {
        const char *at = reply->data, *end = at + reply->size;
        bool ok = true;
        struct zp_credentials found = { 0 };
        found.username = (char *) take_text(&at, end, &ok);
        found.password = (char *) take_text(&at, end, &ok);
        found.identity_token = (char *) take_text(&at, end, &ok);
        found.registry_token = (char *) take_text(&at, end, &ok);
        if (!ok)
                return 0;
        int r = zp_credentials_copy(&found, out, err);
        return r < 0 ? r : 1;
}

static int connect_to(const char *root) {
        struct sockaddr_un address;
        char path[SOCKET_PATH_SIZE];
        zp_autoclose int directory = open_root(root, NULL);
        zp_autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (directory < 0 || fd < 0)
                return -1;
        socket_path(directory, path);
        if (zp_unix_address(path, &address, NULL) < 0)
                return -1;
        snap_exchange_set_patience(fd, PATIENCE_MS);
        return connect(fd, (const struct sockaddr *) &address, sizeof address) < 0 ? -1 : zp_steal_fd(&fd);
}

int snap_share_ask(void *root, const char *registry, const char *repository, struct zp_credentials *out,
                   struct zp_error *err) {
        struct zp_buffer reply = { 0 };
        zp_autoclose int fd = connect_to(root);
        if (fd < 0)
                return 0;
        bool is_answered = snap_exchange_send(fd, registry, strlen(registry) + 1) &&
                           snap_exchange_send(fd, repository, strlen(repository) + 1) && shutdown(fd, SHUT_WR) == 0 &&
                           snap_exchange_receive(fd, ANSWER_MAX, &reply) && reply.size > 0;
        int r = is_answered ? take_credentials(&reply, out, err) : 0;
        snap_exchange_wipe(&reply);
        return r;
}
