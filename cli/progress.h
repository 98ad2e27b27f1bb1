/* SPDX-License-Identifier: Apache-2.0
 *
 * What long work says on stderr: a bar per task on a terminal, redrawn ten times a second by a thread of its
 * own; one line when a task starts and ends elsewhere; nothing when quiet.
 */
#ifndef ZP_CLI_PROGRESS_H
#define ZP_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"

struct progress;

/* Never NULL but out of memory; then the functions below do nothing, for progress is no reason to fail. The thread
 * starts with the first task: a build confines itself before that. */
struct progress *progress_new(bool quiet);
/* For who reads the messages by program: no bars, but twice a second while tasks are running a line of JSON, and one
 * without tasks when they have ended:
 *
 *   {"tasks":[{"label":"layer 1/3","done":1048576,"total":5242880}]} */
void progress_tell_json(struct progress *progress);
/* Takes the bars away. */
void progress_free(struct progress *progress);
ZP_DEFINE_AUTO(struct progress, progress_free);

/* All may be called from any thread. */

/* A line that stays, above the bars. */
void progress_say(struct progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes the bars away while the caller writes to stdout, which may be the same terminal. */
void progress_pause(struct progress *progress);
void progress_resume(struct progress *progress);
/* Layers of an image and the blobs of its snapshot, side by side. */
#define PROGRESS_TASKS 1280u
/* A task that begins: the bar, or the line "LABEL: VERB". `task` < PROGRESS_TASKS names it from here on; total 0:
 * unknown. */
void progress_begin(struct progress *progress, unsigned task, const char *label, const char *verb, uint64_t total);
void progress_update(struct progress *progress, unsigned task, uint64_t done);
void progress_advance(struct progress *progress, unsigned task, uint64_t more);
/* The task's bar gives way to the line "LABEL: OUTCOME in N s". */
void progress_end(struct progress *progress, unsigned task, const char *outcome);

#endif
