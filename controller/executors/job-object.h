/* SPDX-License-Identifier: Apache-2.0
 *
 * The Job that builds one snapshot, and what its state and that of its pod mean.
 */
#ifndef CTL_JOB_OBJECT_H
#define CTL_JOB_OBJECT_H

#include "controller/executor.h"
#include "controller/secrets.h"

#define CTL_JOB_NAME_SIZE 64
#define CTL_JOB_CONTAINER "build"
/* Where a pod's container leaves a few kilobytes for whoever looks at the pod. */
#define CTL_JOB_RESULT_FILE "/dev/termination-log"

/* The same for the same wish: repository, digest, what the spec says about the build, how many attempts have failed,
 * and the object's retry annotation. Objects of one namespace that want the same share the Job, and tags of one image.
 */
void ctl_job_name(const struct ctl_order *order, char name[CTL_JOB_NAME_SIZE]);
/* Whether the registry of an image or repository is spoken to in plain HTTP. A Job speaks one way to all of its
 * registries. */
bool ctl_job_is_plain_http(const struct ctl_config *config, const char *name);
/* `secrets`: names, whose contents are mounted. NULL: no memory, or the image's name is malformed. */
json_t *ctl_job_object(const struct ctl_config *config, const struct ctl_order *order,
                       const struct ctl_secrets *secrets);
/* What makes `order`'s object an owner of a Job that is there, of this uid, beside those it has: for server-side apply.
 * NULL: no memory. */
json_t *ctl_job_share_object(const struct ctl_order *order, const char *uid);
/* Whether the object is an owner of the Job: the cluster keeps the Job as long as one of them is there. */
bool ctl_job_is_owned_by(json_t *job, const struct ctl_snapshot *owner);
/* What a Job and the newest of its pods (NULL: none) tell; all but out->id. */
void ctl_job_read(json_t *job, json_t *pod, struct ctl_build *out);
/* When the pod got its node, as it is written (RFC 3339); "": it has none yet, or is a Job. The pod's. */
const char *ctl_job_scheduled_at(json_t *pod);
/* Whether it waits for its pod to begin, which says nothing of why; and the words of a warning that tells. */
bool ctl_job_is_held_up(const struct ctl_build *build);
void ctl_job_add_trouble(const char *note, struct ctl_build *out);
/* Or, when that could not be asked, what was told at the look before of the same. */
void ctl_job_keep_trouble(const struct ctl_image *before, struct ctl_build *out);
/* Of one that ran out of time: how it stood at the look before, if that is why. */
void ctl_job_add_delay(const struct ctl_image *before, struct ctl_build *out);
/* The end of what the container of a running one has said (CTL_JOB_CONTAINER): out->progress by the last line of JSON,
 * out->message is the last line that is none; where it has none such, they stay as they are. A line that does not end
 * is passed over. */
void ctl_job_read_log(const char *log, size_t size, struct ctl_build *out);

#endif
