/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a build is, by what `zeropull build --progress=json` tells of its tasks, whoever passes it on.
 */
#ifndef CTL_TASKS_H
#define CTL_TASKS_H

#include <jansson.h>

/* Of what is under way now ([{"done": BYTES, "total": BYTES}, …], or anything else), the part that is done, in percent;
 * -1: that is not known. */
int ctl_tasks_percent(json_t *tasks);

#endif
