/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/listen.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "oci/url.h"

static int split_listen(const char *listen, char *host, size_t size, const char **port, struct zp_error *err) {
        const char *colon = strrchr(listen, ':');
        size_t length = colon ? (size_t) (colon - listen) : 0;
        size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
        if (digits == 0 || digits > 5 || colon[1 + digits] || length >= size || atoi(colon + 1) > 65535)
                return zp_error_set(err, EINVAL, "listen '%s': not ADDRESS:PORT", listen);
        bool is_bracketed = length > 1 && listen[0] == '[' && listen[length - 1] == ']';
        snprintf(host, size, "%.*s", (int) (is_bracketed ? length - 2 : length), listen + is_bracketed);
        *port = colon + 1;
        return 0;
}

static int resolve(const char *listen, struct addrinfo **address, bool *is_loopback, struct zp_error *err) {
        char host[256];
        const char *port = NULL;
        struct addrinfo hints = { .ai_flags = AI_PASSIVE | AI_NUMERICHOST | AI_NUMERICSERV,
                                  .ai_socktype = SOCK_STREAM };
        int r = split_listen(listen, host, sizeof host, &port, err);
        if (r < 0)
                return r;
        *is_loopback = zp_is_loopback(host);
        r = getaddrinfo(strcmp(host, "localhost") == 0 ? "127.0.0.1" : host[0] ? host : NULL, port, &hints, address);
        return r == 0 ? 0 : zp_error_set(err, EINVAL, "listen '%s': %s", listen, gai_strerror(r));
}

int zp_listen_check(const char *text, struct zp_error *err) {
        struct addrinfo *address = NULL;
        bool is_loopback;
        int r = resolve(text, &address, &is_loopback, err);
        if (r == 0)
                freeaddrinfo(address);
        return r;
}

int zp_listen(const char *listen_text, struct zp_listener *out, struct zp_error *err) {
        struct addrinfo *address = NULL;
        int one = 1, r = resolve(listen_text, &address, &out->is_loopback, err);
        if (r < 0)
                return r;
        zp_autoclose int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_storage bound;
        socklen_t size = sizeof bound;
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
            bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0 ||
            getsockname(fd, (struct sockaddr *) &bound, &size) < 0) {
                r = zp_error_errno(err, errno, "listen '%s'", listen_text);
                freeaddrinfo(address);
                return r;
        }
        freeaddrinfo(address);
        out->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *) &bound)->sin6_port
                                                      : ((struct sockaddr_in *) &bound)->sin_port);
        out->fd = zp_steal_fd(&fd);
        return 0;
}
