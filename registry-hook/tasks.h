/* SPDX-License-Identifier: Apache-2.0
 *
 * How far a build is: lines of JSON among what it says on stderr (zeropull build --progress=json), taken out of it. A
 * build that was taken over may say what it likes: what is kept is bounded, and made anew from what was understood.
 */
#ifndef HOOK_TASKS_H
#define HOOK_TASKS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* The longest line that is one; longer ones are dropped. */
#define HOOK_TASKS_LINE 8192
#define HOOK_TASKS_MAX 16
#define HOOK_TASKS_PREFIX "{\"tasks\":"

struct hook_tasks {
        char line[HOOK_TASKS_LINE]; /* as far as it has come */
        size_t size;
        enum { HOOK_TASKS_START, HOOK_TASKS_INSIDE, HOOK_TASKS_TEXT } state; /* of the line that is coming */
        bool is_too_long;
        json_t *tasks; /* [{"label", "done", "total"}]; NULL: it has not said */
};

/* What of `data` is text goes to `text`, which has room for size + HOOK_TASKS_LINE bytes; returns how much that is.
 * *news: there are other tasks now. */
size_t hook_tasks_take(struct hook_tasks *tasks, const char *data, size_t size, char *text, bool *news);
void hook_tasks_clear(struct hook_tasks *tasks);

#endif
