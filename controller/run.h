/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside one look at an ImageSnapshot.
 */
#ifndef CTL_RUN_H
#define CTL_RUN_H

#include "controller/reconcile.h"

struct ctl_run {
        struct ctl_world *world;
        const char *key;
        struct ctl_snapshot *snapshot;
        const struct ctl_executor *executor;
        struct ctl_secrets secrets; /* when is_loaded */
        bool is_loaded;
        bool has_new_spec; /* since the last look */
        bool is_retry;     /* somebody asked since to try again */
        int64_t now;       /* seconds since 1970 */
        int64_t wake;      /* the earliest time to look again; 0: none */
        unsigned budget;   /* how many more images may cost a request in this look */
        int64_t round;     /* when the turns began of which this look gives some */
        bool has_turn;     /* the image at hand has not had its turn in this round */
        bool is_spent;     /* an image whose turn it was found no budget */
};

/* Until what is not there, or may not be read, is asked for again. */
#define CTL_ABSENT_S 300
/* Until a registry or executor that does not answer is asked again. */
#define CTL_UNAVAILABLE_S 30
/* How often a build is looked at that tells nobody of its progress. */
#define CTL_POLL_S 10

/* Moves one image as far as it goes now. Negative: the API server does not answer. */
int ctl_run_image(struct ctl_run *run, struct ctl_image *image, struct zp_error *err);
/* Its steps: image-resolve.c. 0: the digest is known. 1: it is not, and the image says why. */
int ctl_run_resolve(struct ctl_run *run, struct ctl_image *image, struct zp_error *err);
/* image-build.c: finds what is published, else asks for a build; and how a build stands that was asked for. */
int ctl_run_start(struct ctl_run *run, struct ctl_image *image, struct zp_error *err);
int ctl_run_look(struct ctl_run *run, struct ctl_image *image, struct zp_error *err);
/* How it stands now, and when to try again (0: nothing to wait for). */
void ctl_run_stand(struct ctl_image *image, enum ctl_phase phase, const char *reason, const char *message);
void ctl_run_later(struct ctl_run *run, struct ctl_image *image, int64_t seconds);
/* Its pull secrets, read when first wanted. */
int ctl_run_images(struct ctl_run *run, struct ctl_images *out, struct zp_error *err);
/* Ends a build that nobody else wants: of this object's other images, those do that go on waiting for theirs (`stays`;
 * NULL: none). -EINPROGRESS: the executor has not decided yet which build that is. */
int ctl_run_cancel(struct ctl_run *run, struct ctl_image *image,
                   bool (*stays)(const struct ctl_run *run, const struct ctl_image *image), struct zp_error *err);
/* All of its builds; what waits for its turn waits no longer. Negative: not all, the first reason. */
int ctl_run_cancel_all(struct ctl_run *run, struct zp_error *err);
/* Removes the snapshots that no other object names; negative: not all, the first reason. */
int ctl_run_withdraw(struct ctl_run *run, struct zp_error *err);
/* Counts and judges its images (`reason`, `trouble`: why nothing can be done at all; NULL) and writes the status when
 * it differs from what the API server has. */
int ctl_run_judge(struct ctl_run *run, const char *reason, const char *trouble, struct zp_error *err);
/* Its time (ttl) is over. */
int ctl_run_expire(struct ctl_run *run, struct zp_error *err);
/* The object is being deleted. */
int ctl_run_delete(struct ctl_run *run, struct zp_error *err);

/* "namespace/id": what slots know a build by. */
#define CTL_SLOT_SIZE (CTL_NAMESPACE_SIZE + CTL_BUILD_ID_SIZE)
char *ctl_run_slot(const struct ctl_run *run, const char *build_id, char slot[CTL_SLOT_SIZE]);

void ctl_run_wake_at(struct ctl_run *run, int64_t time);
/* An event on the object. */
void ctl_run_tell(struct ctl_run *run, bool is_warning, const char *reason, const char *format, ...)
        __attribute__((format(printf, 4, 5)));

#endif
