/* SPDX-License-Identifier: Apache-2.0 */
#include "controller/images.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "oci/reference.h"
#include "oci/transfer.h"
#include "remote/remote.h"
#include "ship/artifact.h"
#include "ship/withdraw.h"

/* A worker waits meanwhile: what does not answer is asked again later. */
#define STALL_TIMEOUT_MS 10000

static struct zp_source_options options_for(const struct ctl_images *images, const char *host,
                                            const struct zp_keychain *keychain) {
        const struct ctl_registry_entry *entry = ctl_config_registry(images->config, host);
        return (struct zp_source_options){ .keychain = keychain,
                                           .learned = images->learned,
                                           .plain_http = entry && entry->plain_http,
                                           .ca_file = entry ? entry->ca_file : NULL,
                                           .user_agent = "zeropull-controller/" ZP_VERSION,
                                           .stall_timeout_ms = STALL_TIMEOUT_MS,
                                           .cancel = images->cancel };
}

static int resolve(const struct ctl_images *images, const char *image, const struct zp_reference *reference,
                   const struct zp_platform *platform, struct zp_image *out, struct zp_error *err) {
        struct zp_keychain keychain = ctl_secrets_keychain(images->secrets);
        struct zp_source_options options = options_for(images, reference->registry, &keychain);
        zp_auto(zp_source_close) struct zp_source *source = NULL;
        zp_autofree char *name = zp_format("docker://%s", image);
        int r = name ? zp_source_open(name, &options, &source, err) : zp_error_errno(err, ENOMEM, "%s", image);
        return r < 0 ? r : zp_source_resolve(source, platform, out, err);
}

int ctl_images_resolve(const struct ctl_images *images, const char *image, const char *platform_text,
                       char digest[ZP_DIGEST_TEXT_SIZE], struct zp_error *err) {
        struct zp_platform platform;
        struct zp_reference reference;
        struct zp_image found = { 0 };
        int r = zp_platform_parse(platform_text, &platform, err);
        if (r == 0)
                r = zp_reference_parse(image, &reference, err);
        if (r < 0)
                return r;
        platform.is_required = true;
        r = resolve(images, image, &reference, &platform, &found, err);
        zp_reference_clear(&reference);
        if (r < 0)
                return r;
        zp_digest_text(&found.manifest_digest, digest);
        zp_image_clear(&found);
        return 0;
}

static int head(const struct ctl_images *images, const struct zp_reference *reference, char digest[ZP_DIGEST_TEXT_SIZE],
                struct zp_error *err) {
        struct zp_keychain keychain = ctl_secrets_keychain(images->secrets);
        struct zp_source_options options = options_for(images, reference->registry, &keychain);
        zp_auto(zp_registry_free) struct zp_registry *registry = NULL;
        const struct zp_http_request request = { .is_for_push = true, .method = "HEAD", .accept = ZP_ACCEPT_MANIFESTS };
        struct zp_http_response response = { 0 };
        struct zp_digest parsed;
        zp_autofree char *path = zp_format("manifests/%s", reference->tag);
        if (!path)
                return zp_error_errno(err, ENOMEM, "%s", reference->repository);
        int r = zp_registry_new(reference->registry, reference->repository, &options, &registry, err);
        if (r == 0)
                r = zp_registry_request(registry, path, &request, &response, err);
        if (r == 0 && (response.status < 200 || response.status > 299))
                r = zp_registry_refused(registry, &response, err);
        if (r == 0 && response.content_digest && zp_digest_parse(response.content_digest, &parsed, NULL) == 0)
                zp_digest_text(&parsed, digest);
        zp_http_response_clear(&response);
        return r;
}

int ctl_images_head(const struct ctl_images *images, const char *image, char digest[ZP_DIGEST_TEXT_SIZE],
                    struct zp_error *err) {
        struct zp_reference reference;
        digest[0] = '\0';
        int r = zp_reference_parse(image, &reference, err);
        if (r < 0)
                return r;
        if (!reference.has_digest)
                r = head(images, &reference, digest, err);
        zp_reference_clear(&reference);
        return r < 0 ? zp_error_wrap(err, "%s", image) : 0;
}

/* ---- snapshots ---- */

int ctl_images_remote(const struct ctl_spec *spec, const char *image, char **out, struct zp_error *err) {
        struct zp_reference reference;
        int r = zp_reference_parse(spec->target ? spec->target : image, &reference, err);
        if (r < 0)
                return r;
        *out = zp_format("docker://%s/%s", reference.registry, reference.repository);
        zp_reference_clear(&reference);
        return *out ? 0 : zp_error_errno(err, ENOMEM, "%s", image);
}

static int host_of(const char *remote, char **out, struct zp_error *err) {
        struct zp_reference reference;
        int r = zp_reference_of_name(remote, &reference, err);
        if (r < 0)
                return r;
        *out = zp_steal(&reference.registry);
        zp_reference_clear(&reference);
        return 0;
}

int ctl_images_published(const struct ctl_images *images, const char *remote_name, const char *digest,
                         char snapshot[ZP_DIGEST_TEXT_SIZE], struct zp_error *err) {
        struct zp_keychain keychain = ctl_secrets_keychain(images->secrets);
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_autofree char *host = NULL;
        struct zp_remote_artifact *artifacts = NULL;
        struct zp_digest subject;
        size_t count = 0;
        snapshot[0] = '\0';
        int r = zp_digest_parse(digest, &subject, err);
        if (r == 0)
                r = host_of(remote_name, &host, err);
        if (r < 0)
                return r;
        struct zp_source_options options = options_for(images, host, &keychain);
        r = zp_remote_open(remote_name, &options, &remote, err);
        if (r == 0)
                r = zp_remote_find(remote, &subject, ZP_ARTIFACT_TYPE, &artifacts, &count, err);
        if (r == 0 && count > 0)
                zp_digest_text(&artifacts[count - 1].manifest.digest, snapshot);
        zp_remote_artifacts_free(artifacts, count);
        return r == -ENOENT ? 0 : r; /* a repository that nobody has pushed to yet */
}

int ctl_images_withdraw(const struct ctl_images *images, const char *remote, const char *digest, const char *snapshot,
                        struct zp_error *err) {
        struct zp_keychain keychain = ctl_secrets_keychain(images->secrets);
        zp_autofree char *host = NULL;
        int r = host_of(remote, &host, err);
        if (r < 0)
                return r;
        struct zp_source_options options = options_for(images, host, &keychain);
        return zp_withdraw(remote, digest, snapshot, &options, err);
}
