/* SPDX-License-Identifier: Apache-2.0
 *
 * Where images come from, named as skopeo names them: `docker://host/repository:tag` (a registry; a bare
 * reference means the same), `oci:DIR[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:REF]`.
 * One table row and one file, source-KIND.c, each.
 */
#ifndef ZP_OCI_SOURCE_H
#define ZP_OCI_SOURCE_H

#include "base/cancel.h"
#include "base/cleanup.h"
#include "oci/keychain.h"
#include "oci/learned.h"
#include "oci/manifest.h"
#include "oci/notice.h"

struct zp_source_options {
        const char *auth_file;   /* Docker's config.json; NULL: $DOCKER_CONFIG, ~/.docker, containers' auth.json */
        const char *credentials; /* "user:password", overrides the file; NULL: none */
        const struct zp_keychain *keychain; /* asked before the files; must outlive the source. NULL: nobody is */
        bool plain_http;                    /* talk HTTP to this registry; a loopback host is asked what it speaks */
        bool skip_tls_verify;
        const char *ca_file;        /* instead of the system's authorities; NULL: those */
        const char *hosts_dir;      /* what zp_hosts_load takes; NULL: ZP_HOSTS_DEFAULT_DIRECTORIES, "": none */
        const char *user_agent;     /* NULL: "zeropull/VERSION" */
        struct zp_learned *learned; /* about registries; others may use it, too; outlives the source. NULL: nothing */
        unsigned stall_timeout_ms;  /* a transfer below 1 KiB/s for so long counts as broken; 0: 30 s */
        const struct zp_cancel *cancel;
        struct zp_notice notice;
};

struct zp_source;

/* Parses the name and opens files; talks to no network yet. Strings in `options` are copied. */
int zp_source_open(const char *name, const struct zp_source_options *options, struct zp_source **out,
                   struct zp_error *err);
void zp_source_close(struct zp_source *source);
ZP_DEFINE_AUTO(struct zp_source, zp_source_close);
/* The name, normalised: what zp_image.name will be. */
const char *zp_source_name(const struct zp_source *source);

/* Tells a digest that is likely the image's manifest's as soon as that is known, perhaps before it was read: who looks
 * for something about it need not wait. Called while resolving, from its thread; NULL: nobody is told. */
void zp_source_tell_manifest(struct zp_source *source, void (*tell)(void *context, const struct zp_digest *digest),
                             void *context);

/* Finds the image for `platform` and reads its manifest and config, every document checked against the
 * digest that named it. Comes before any zp_source_read_blob, and not at the same time. Without an index the
 * image is taken whatever its architecture, as containerd and skopeo do, and the notice told so; unless
 * platform->is_required.
 * A docker-archive has no manifest: one is made, to the byte what skopeo makes (its layers say gzip and come
 * as plain tar). -ENOENT: no such image; -EACCES: not allowed; -ENOTSUP: not an image, or not Linux's. */
int zp_source_resolve(struct zp_source *source, const struct zp_platform *platform, struct zp_image *out,
                      struct zp_error *err);

/* The directory or file that reading blobs still opens by its path (a layout's directory, the CA file of a
 * registry), NULL when there is none: what a process that confines itself has to leave readable. */
const char *zp_source_local_path(const struct zp_source *source);

/* Takes the next bytes of a blob; non-zero stops the transfer with that (negative) error. */
typedef int (*zp_blob_sink)(void *context, const void *data, size_t size, struct zp_error *err);

/* Streams one blob to `sink`. Size and SHA-256 are checked against the descriptor: the call fails with
 * -EBADMSG after the last byte when they differ, so nothing may be kept before it returns 0; a blob that is
 * not there is -EBADMSG, too. `cancel` (may be NULL) ends it, and the source's own. A registry's
 * broken transfer is resumed (Range) a bounded number of times with backoff. Thread-safe: several blobs
 * of one source may be read at once. */
int zp_source_read_blob(struct zp_source *source, const struct zp_descriptor *blob, const struct zp_cancel *cancel,
                        zp_blob_sink sink, void *context, struct zp_error *err);

#endif
