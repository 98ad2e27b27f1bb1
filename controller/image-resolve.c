/* SPDX-License-Identifier: Apache-2.0
 *
 * What an image's name stands for.
 */
#include <stdio.h>
#include <string.h>

#include "controller/run.h"

static const char *reason_of(int error) {
        switch (error) {
        case -ENOENT:
                return "ImageNotFound";
        case -EACCES:
                return "AccessDenied";
        case -ENOTSUP:
                return "NotAnImage";
        case -EINVAL:
                return "InvalidName";
        default:
                return "RegistryUnavailable";
        }
}

static void not_resolved(struct ctl_run *run, struct ctl_image *image, int error, const struct zp_error *why) {
        char message[CTL_MESSAGE_SIZE];
        const char *problem = run->secrets.problem, *reason = reason_of(error), *text = why->message;
        const struct ctl_spec *spec = &run->snapshot->spec;
        /* which image it is, stands beside it */
        if (strncmp(text, "docker://", 9) == 0 && strstr(text, ": "))
                text = strstr(text, ": ") + 2;
        bool was_known = strcmp(image->reason, reason) == 0;
        snprintf(message, sizeof message, "%.250s%s%.200s%s", text, error == -EACCES && *problem ? " (" : "",
                 error == -EACCES ? problem : "", error == -EACCES && *problem ? ")" : "");
        bool is_passing = strcmp(reason, "RegistryUnavailable") == 0;
        image->digest[0] = '\0';
        ctl_run_stand(image, is_passing ? CTL_PENDING : CTL_FAILED, reason, message);
        /* a Secret that may not be read: an API server that has just started knows nobody's rights */
        bool is_early = error == -EACCES && *problem && !was_known;
        ctl_run_later(run, image,
                      error == -EINVAL         ? 0
                      : error == -ENOTSUP      ? spec->is_tracking ? spec->interval_s : 0 /* a tag may move */
                      : is_passing || is_early ? CTL_UNAVAILABLE_S
                                               : CTL_ABSENT_S);
        if (!was_known)
                ctl_run_tell(run, true, reason, "%s (%s): %s", image->image, image->platform, message);
}

/* What a tag names is asked first: should it move meanwhile, the next look sees that. */
static int ask(struct ctl_run *run, const struct ctl_images *images, const struct ctl_image *image, char *source,
               char *digest, struct zp_error *err) {
        int r = run->snapshot->spec.is_tracking ? ctl_images_head(images, image->image, source, err) : 0;
        atomic_fetch_add(&run->world->counters.checks, 1);
        if (r == 0 && source[0] && strcmp(source, image->source_digest) == 0 && image->digest[0]) {
                strcpy(digest, image->digest);
                return 0;
        }
        return r < 0 ? r : ctl_images_resolve(images, image->image, image->platform, digest, err);
}

int ctl_run_resolve(struct ctl_run *run, struct ctl_image *image, struct zp_error *err) {
        char source[ZP_DIGEST_TEXT_SIZE] = "", digest[ZP_DIGEST_TEXT_SIZE] = "";
        struct ctl_images images;
        struct zp_error why = { 0 };
        int r = ctl_run_images(run, &images, err);
        if (r < 0)
                return r;
        r = ask(run, &images, image, source, digest, &why);
        if (r < 0) {
                if (zp_cancelled(run->world->cancel))
                        return zp_error_set(err, ECANCELED, "interrupted");
                not_resolved(run, image, r, &why);
                return 1;
        }
        image->last_check = run->now;
        atomic_fetch_add(&run->world->counters.resolved, 1);
        strcpy(image->source_digest, source);
        if (strcmp(image->digest, digest) != 0) {
                strcpy(image->digest, digest);
                image->snapshot_digest[0] = image->build_id[0] = '\0';
                image->size = 0;
                image->attempts = 0;
        }
        return 0;
}
