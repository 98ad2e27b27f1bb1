/* SPDX-License-Identifier: Apache-2.0
 *
 * Taking zeropull out of a cluster: its objects go first, while a controller is there that lets them go.
 */
#ifndef CTL_REMOVE_H
#define CTL_REMOVE_H

#include "controller/controller.h"

/* Deletes every ClusterImageSnapshot and ImageSnapshot (with options->namespace: the ImageSnapshots there) and waits
 * until none is left. What is made meanwhile goes too. 0 also where the cluster has no such kinds; -ETIMEDOUT: none
 * went for as long as a controller takes at most. Needs the rights to list and to delete them. */
int ctl_remove_all(const struct ctl_options *options, struct zp_error *err);

#endif
