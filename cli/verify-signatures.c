/* SPDX-License-Identifier: Apache-2.0
 *
 * `zeropull verify --key`: what the store holds is what somebody signed and published.
 */
#include "cli/remote-names.h"
#include "cli/verify.h"
#include "ship/held.h"

static int check_in(struct verifier *v, const struct zp_image_record *image, struct zp_remote *remote,
                    struct zp_error *err) {
        struct zp_trust trust = { .remote = remote, .keys = v->keys.keys, .key_count = v->keys.count };
        struct zp_digest artifact;
        char digest[ZP_DIGEST_TEXT_SIZE], image_digest[ZP_DIGEST_TEXT_SIZE];
        int r = zp_held_check(v->store, image, remote, zp_trust_check, &trust, true, &artifact, NULL, err);
        if (r == 0)
                progress_say(v->progress, "image %s: snapshot %s, %s",
                             zp_digest_text(&image->manifest_digest, image_digest), zp_digest_text(&artifact, digest),
                             trust.reason);
        v->refused_count += r == -EBADMSG || (r < 0 && trust.is_refused);
        return r;
}

static int check_image(struct verifier *v, const struct zp_image_record *image, const char *remote_name,
                       const struct zp_source_options *source_options, struct zp_error *err) {
        zp_auto(zp_remote_close) struct zp_remote *remote = NULL;
        zp_autofree char *beside = NULL;
        int r = 0;
        if (!remote_name) {
                const char *name = cli_remote_name_of(image->names, "docker://");
                r = cli_remote_beside(name ? name : "this image", "say where from: --from REMOTE", &beside, err);
        }
        if (r == 0)
                r = zp_remote_open(beside ? beside : remote_name, source_options, &remote, err);
        return r < 0 ? r : check_in(v, image, remote, err);
}

int verify_signatures(struct verifier *v, const char *remote_name, const struct zp_source_options *source_options,
                      struct zp_error *err) {
        for (size_t i = 0; i < v->image_count; i++) {
                char object[100], digest[ZP_DIGEST_TEXT_SIZE];
                snprintf(object, sizeof object, "image %s", zp_digest_text(&v->images[i].manifest_digest, digest));
                int r = zp_check_cancel(v->call->cancel, err);
                if (r < 0)
                        return r;
                if (check_image(v, &v->images[i], remote_name, source_options, err) == 0)
                        continue;
                if (v->published_count++ == 0)
                        snprintf(v->published_hint, sizeof v->published_hint, "%s", err->hint);
                r = verify_problem(v, object, err);
                if (r < 0)
                        return r;
                zp_error_clear(err);
        }
        return 0;
}
