/* SPDX-License-Identifier: Apache-2.0
 *
 * Which servers stand for a registry: containerd's hosts.toml (docs/hosts.md there) and Docker's certificate files,
 * from directories like /etc/containerd/certs.d.
 */
#ifndef ZP_OCI_HOSTS_H
#define ZP_OCI_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct zp_host {
        char *base; /* "https://mirror.example:5000/v2", no slash at its end; NULL: the registry itself, as ever */
        bool can_pull, can_resolve, can_push; /* resolve: say what a tag means, which no digest checks */
        bool skip_tls_verify;
        char *ca_pem;                      /* authorities beside the others; NULL: none */
        char *client_pem, *client_key_pem; /* NULL: no certificate of ours */
        char **headers;                    /* "Name: value", up to a NULL; NULL: none */
        unsigned connect_timeout_ms;       /* 0: not said */
        char *proxy;                       /* NULL: what the environment says */
};

struct zp_hosts {
        struct zp_host *hosts; /* in the order in which to try them; the last is the registry's server */
        size_t count;          /* 0: nothing is said about the registry */
};

/* Where it is looked, when nobody says. */
#define ZP_HOSTS_DEFAULT_DIRECTORIES "/etc/containerd/certs.d:/etc/docker/certs.d"

/* Looks in `directories` (separated by colons) for what is said about `registry` ("docker.io", "example.com:5000"): the
 * first of HOST_PORT_, HOST:PORT, _default that is there, in the first directory that has one. Reads all files that it
 * names. -EINVAL: malformed, with file and line. */
int zp_hosts_load(const char *directories, const char *registry, struct zp_hosts *out, struct zp_error *err);
/* Reads the text of one hosts.toml; `directory` is where it is from, and what it names relative to. */
int zp_hosts_parse(const char *text, size_t size, const char *directory, struct zp_hosts *out, struct zp_error *err);
void zp_hosts_clear(struct zp_hosts *hosts);

#endif
