/* SPDX-License-Identifier: Apache-2.0
 *
 * Why a Job has no pod, or its pod does not run: Jobs and pods do not say so themselves when a quota or an admission
 * policy refuses the pod, or a volume is of a Secret that is not there. The cluster's programs tell it in events.
 */
#ifndef CTL_JOB_TROUBLE_H
#define CTL_JOB_TROUBLE_H

#include "controller/executor.h"

/* The newest warning about that object, a Job or a pod: its words, cut. "": there is none, or it cannot be had, which
 * keeps nobody from going on. */
void ctl_job_find_trouble(struct zp_kube *kube, json_t *object, char note[CTL_MESSAGE_SIZE]);

#endif
