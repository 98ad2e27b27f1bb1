/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a Job has no pod, or its pod does not run: Jobs and pods do not say so themselves when a quota or an admission
 * policy refuses the pod, or a volume is of a Secret that is not there. The cluster's programs tell it in events.
 */
#ifndef CTL_JOB_TROUBLE_H
#define CTL_JOB_TROUBLE_H

#include "controller/executor.h"

/* The newest warning about that object, a Job or a pod, that was seen at `since` (RFC 3339; "": whenever) or later: its
 * words, cut; "": there is none. False: the cluster did not answer, for which nobody waits longer than two seconds. */
bool ctl_job_find_trouble(struct zp_kube *kube, json_t *object, const char *since, char note[CTL_MESSAGE_SIZE]);
/* The same of a list of such warnings. */
void ctl_job_read_trouble(json_t *list, const char *since, char note[CTL_MESSAGE_SIZE]);

#endif
