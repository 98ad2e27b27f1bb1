/* SPDX-License-Identifier: Apache-2.0
 *
 * Where it is looked for what is said about a registry, and Docker's certificate files.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"
#include "oci/hosts-internal.h"

#define FILE_MAX_SIZE (1u << 20)

static void host_clear(struct zp_host *host) {
        free(host->base);
        free(host->ca_pem);
        free(host->client_pem);
        zp_secret_free(host->client_key_pem);
        for (size_t i = 0; host->headers && host->headers[i]; i++)
                free(host->headers[i]);
        free(host->headers);
        free(host->proxy);
}

void zp_hosts_clear(struct zp_hosts *hosts) {
        for (size_t i = 0; i < hosts->count; i++)
                host_clear(&hosts->hosts[i]);
        free(hosts->hosts);
        *hosts = (struct zp_hosts){ 0 };
}

int zp_hosts_read_pem(const char *directory, const char *path, char **pem, struct zp_error *err) {
        zp_autofree char *full = path[0] == '/' ? strdup(path) : zp_format("%s/%s", directory, path);
        zp_autofree char *text = NULL;
        size_t size;
        if (!full)
                return zp_error_errno(err, ENOMEM, "%s", directory);
        int r = zp_read_file(AT_FDCWD, full, FILE_MAX_SIZE, &text, &size, err);
        if (r < 0)
                return r;
        if (!strstr(text, "-----BEGIN "))
                return zp_error_set(err, EINVAL, "%s: not a PEM file", full);
        char *joined = zp_format("%s%s\n", *pem ? *pem : "", text);
        explicit_bzero(text, size);
        if (!joined)
                return zp_error_errno(err, ENOMEM, "%s", directory);
        free(*pem);
        *pem = joined;
        return 0;
}

/* Docker's way: *.crt are authorities, NAME.cert and NAME.key a certificate of ours. */
static int read_certificates(const char *directory, struct zp_hosts *out, struct zp_error *err) {
        zp_autoclosedir DIR *dir = opendir(directory);
        if (!dir)
                return errno == ENOTDIR ? 0 : zp_error_errno(err, errno, "open '%s'", directory);
        out->hosts = calloc(1, sizeof *out->hosts);
        if (!out->hosts)
                return zp_error_errno(err, ENOMEM, "%s", directory);
        out->count = 1;
        struct zp_host *host = out->hosts;
        host->can_pull = host->can_resolve = host->can_push = true;
        int r = 0;
        for (struct dirent *entry; r == 0 && (entry = zp_next_entry(dir));) {
                if (zp_ends_with(entry->d_name, ".crt"))
                        r = zp_hosts_read_pem(directory, entry->d_name, &host->ca_pem, err);
                if (!zp_ends_with(entry->d_name, ".cert"))
                        continue;
                zp_autofree char *key = zp_format("%.*s.key", (int) strlen(entry->d_name) - 5, entry->d_name);
                if (!key || host->client_pem)
                        return key ? zp_error_set(err, EINVAL, "%s: more than one certificate", directory)
                                   : zp_error_errno(err, ENOMEM, "%s", directory);
                r = zp_hosts_read_pem(directory, entry->d_name, &host->client_pem, err);
                if (r == 0)
                        r = zp_hosts_read_pem(directory, key, &host->client_key_pem, err);
        }
        return r;
}

static int read_directory(const char *directory, struct zp_hosts *out, struct zp_error *err) {
        zp_autofree char *path = zp_format("%s/hosts.toml", directory);
        zp_autofree char *text = NULL;
        size_t size;
        if (!path)
                return zp_error_errno(err, ENOMEM, "%s", directory);
        if (access(path, F_OK) == 0) {
                int r = zp_read_file(AT_FDCWD, path, FILE_MAX_SIZE, &text, &size, err);
                return r < 0 ? r : zp_hosts_parse(text, size, directory, out, err);
        }
        int r = errno == ENOENT ? read_certificates(directory, out, err) : zp_error_errno(err, errno, "%s", path);
        if (r < 0)
                zp_hosts_clear(out);
        return r;
}

/* 1: this directory has something about the registry. */
static int look_in(const char *root, size_t root_size, const char *registry, struct zp_hosts *out,
                   struct zp_error *err) {
        const char *colon = strrchr(registry, ':');
        char *paths[3] = {
                colon ? zp_format("%.*s/%.*s_%s_", (int) root_size, root, (int) (colon - registry), registry, colon + 1)
                      : NULL,
                zp_format("%.*s/%s", (int) root_size, root, registry),
                zp_format("%.*s/_default", (int) root_size, root),
        };
        int r = 0;
        for (size_t i = 0; r == 0 && i < 3; i++) {
                struct stat st;
                if (paths[i] && stat(paths[i], &st) == 0) {
                        r = read_directory(paths[i], out, err);
                        r = r < 0 ? r : 1;
                } else if (paths[i] && errno != ENOENT && errno != ENOTDIR && errno != EACCES) {
                        r = zp_error_errno(err, errno, "%s", paths[i]);
                }
        }
        for (size_t i = 0; i < 3; i++)
                free(paths[i]);
        return r;
}

int zp_hosts_load(const char *directories, const char *registry, struct zp_hosts *out, struct zp_error *err) {
        *out = (struct zp_hosts){ 0 };
        for (const char *p = directories; *p;) {
                size_t size = strcspn(p, ":");
                int r = size ? look_in(p, size, registry, out, err) : 0;
                if (r != 0)
                        return r < 0 ? r : 0;
                p += size + (p[size] == ':');
        }
        return 0;
}
