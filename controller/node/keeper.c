/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/node/keeper.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/unix-socket.h"
#include "controller/log.h"

#define CLIENTS_MAX 16
#define MESSAGE_MAX 128
#define ANSWER_MS 2000
#define LOOK_MS 500
#define FDS_MAX 4

/* ---- packets ---- */

/* The first descriptor of a message; all others are closed. */
static int first_descriptor(struct msghdr *message) {
        int found = -1;
        for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
                if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < count; i++) {
                        int fd;
                        memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
                        if (found < 0)
                                found = fd;
                        else
                                close(fd);
                }
        }
        return found;
}

int node_packet_receive(int socket, char *text, size_t size, int *fd, struct zp_error *err) {
        struct iovec data = { .iov_base = text, .iov_len = size - 1 };
        union {
                char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
                struct cmsghdr header;
        } control = { 0 };
        struct msghdr message = {
                .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.bytes
        };
        *fd = -1;
        ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
        if (got < 0)
                return zp_error_errno(err, errno, "keeper");
        *fd = first_descriptor(&message);
        text[got] = '\0';
        return (int) got;
}

/* ---- clients ---- */

int node_keeper_connect(const char *path, struct zp_error *err) {
        int fd = zp_unix_connect(path, SOCK_SEQPACKET, err);
        return fd < 0 ? zp_error_wrap(err, "keeper") : fd;
}

int node_keeper_keep(int connection, const char *name, int fd, struct zp_error *err) {
        char text[MESSAGE_MAX];
        snprintf(text, sizeof text, "keep %s", name);
        return zp_unix_send(connection, text, fd, "keeper", err);
}

int node_keeper_take(int connection, const char *name, struct zp_error *err) {
        char text[MESSAGE_MAX];
        int fd = -1;
        snprintf(text, sizeof text, "take %s", name);
        int r = zp_unix_send(connection, text, -1, "keeper", err);
        if (r < 0)
                return r;
        struct pollfd answer = { .fd = connection, .events = POLLIN };
        if (poll(&answer, 1, ANSWER_MS) <= 0)
                return zp_error_set(err, ETIMEDOUT, "keeper: no answer");
        r = node_packet_receive(connection, text, sizeof text, &fd, err);
        if (r > 0 && fd >= 0 && strcmp(text, name) == 0)
                return fd;
        zp_cleanup_fd(&fd);
        return r < 0 ? r : zp_error_set(err, ENOENT, "keeper: it has no '%s'", name);
}

/* ---- the keeper ---- */

struct kept {
        char name[NODE_KEPT_NAME_MAX + 1];
        int fd;
};

struct keeper {
        int listener, clients[CLIENTS_MAX];
        struct kept kept[NODE_KEPT_MAX];
        size_t kept_count;
};

static struct kept *find(struct keeper *k, const char *name) {
        for (size_t i = 0; i < k->kept_count; i++)
                if (strcmp(k->kept[i].name, name) == 0)
                        return &k->kept[i];
        return NULL;
}

/* Takes `fd`. */
static void keep(struct keeper *k, const char *name, int fd) {
        struct kept *place = find(k, name);
        if (fd < 0 || !name[0] || strlen(name) > NODE_KEPT_NAME_MAX || (!place && k->kept_count == NODE_KEPT_MAX)) {
                zp_cleanup_fd(&fd);
                return;
        }
        if (!place) {
                place = &k->kept[k->kept_count++];
                snprintf(place->name, sizeof place->name, "%s", name);
        } else {
                close(place->fd);
        }
        place->fd = fd;
        ctl_log(CTL_LOG_INFO, "keeping '%s'", name);
}

/* False: the connection is to be closed. */
static bool serve(struct keeper *k, int client) {
        char text[MESSAGE_MAX];
        int fd;
        if (node_packet_receive(client, text, sizeof text, &fd, NULL) <= 0)
                return false;
        if (strncmp(text, "keep ", 5) == 0) {
                keep(k, text + 5, fd);
                return true;
        }
        zp_cleanup_fd(&fd);
        if (strncmp(text, "take ", 5) != 0)
                return false;
        const struct kept *kept = find(k, text + 5);
        return zp_unix_send(client, kept ? kept->name : "none", kept ? kept->fd : -1, "keeper", NULL) == 0;
}

static void welcome(struct keeper *k) {
        int client = accept4(k->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        for (size_t i = 0; i < CLIENTS_MAX && client >= 0; i++)
                if (k->clients[i] < 0) {
                        k->clients[i] = client;
                        return;
                }
        zp_cleanup_fd(&client);
}

static void run(struct keeper *k, const struct zp_cancel *cancel) {
        while (!zp_cancelled(cancel)) {
                struct pollfd fds[CLIENTS_MAX + 1];
                for (size_t i = 0; i < CLIENTS_MAX; i++)
                        fds[i] = (struct pollfd){ .fd = k->clients[i], .events = POLLIN };
                fds[CLIENTS_MAX] = (struct pollfd){ .fd = k->listener, .events = POLLIN };
                if (poll(fds, CLIENTS_MAX + 1, LOOK_MS) <= 0)
                        continue;
                for (size_t i = 0; i < CLIENTS_MAX; i++)
                        if (fds[i].revents && !serve(k, k->clients[i])) {
                                close(k->clients[i]);
                                k->clients[i] = -1;
                        }
                if (fds[CLIENTS_MAX].revents)
                        welcome(k);
        }
}

static int listen_at(const char *path, struct zp_error *err) {
        struct sockaddr_un address;
        int r = zp_unix_address(path, &address, err);
        if (r < 0)
                return r;
        zp_autoclose int other = zp_unix_connect(path, SOCK_SEQPACKET, NULL);
        if (other >= 0)
                return zp_error_set(err, EADDRINUSE, "socket '%s': somebody listens there", path);
        zp_autoclose int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        unlink(path);
        mode_t before = umask(0177);
        r = fd < 0 || bind(fd, (struct sockaddr *) &address, sizeof address) < 0 || listen(fd, CLIENTS_MAX) < 0
                    ? zp_error_errno(err, errno, "socket '%s'", path)
                    : 0;
        umask(before);
        return r < 0 ? r : zp_steal_fd(&fd);
}

int node_keeper_run(const char *path, const struct zp_cancel *cancel, struct zp_error *err) {
        struct keeper k = { .kept_count = 0 };
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                k.clients[i] = -1;
        k.listener = listen_at(path, err);
        if (k.listener < 0)
                return k.listener;
        run(&k, cancel);
        unlink(path);
        close(k.listener);
        for (size_t i = 0; i < CLIENTS_MAX; i++)
                zp_cleanup_fd(&k.clients[i]);
        for (size_t i = 0; i < k.kept_count; i++)
                close(k.kept[i].fd);
        return 0;
}
