/* SPDX-License-Identifier: Apache-2.0
 *
 * The files and directories that the settings name. A daemon starts without them, since a disk may come later, and asks
 * for each again when it needs it; what is missing until then is told.
 */
#ifndef SNAP_NAMED_H
#define SNAP_NAMED_H

#include "snapshotter/control/config.h"

/* One of them: `setting` and `remedy` are static; `problem` is why it cannot be used, NULL: it can. */
typedef void (*snap_named_told)(void *context, const char *setting, const char *path, const char *problem,
                                const char *remedy);
/* Looks at each and tells of it; one whose file system does not answer for a few seconds cannot be used. For a process
 * of one thread: the looks are its children's. */
void snap_named_look(const struct snap_config *config, snap_named_told told, void *context);
/* Logs a line for each that cannot be used, from a thread of its own: nothing is waited for. */
void snap_named_log(const struct snap_config *config);

/* The policy that counts: NULL: none does. */
const char *snap_named_policy(const struct snap_config *config);

#endif
