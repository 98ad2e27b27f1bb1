/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's log: one line each on stderr, with the priority in front as systemd's journal reads it.
 */
#ifndef HOOK_LOG_H
#define HOOK_LOG_H

#include <stdatomic.h>

enum hook_log_level { HOOK_LOG_ERROR = 3, HOOK_LOG_WARNING = 4, HOOK_LOG_INFO = 6 };

/* Control characters become '?': what an image or a registry says goes to a terminal and into lines. */
void hook_log_clean(char *text);
/* Any thread. The text is cleaned so. */
void hook_log(enum hook_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Of one kind of line, which strangers can cause as often as they like. Zeroed at first. */
struct hook_log_quota {
        atomic_llong next_ms; /* monotonic */
        atomic_uint left_out;
};
/* One line a second at most, which tells how many were left out before it. */
void hook_log_seldom(struct hook_log_quota *quota, enum hook_log_level level, const char *format, ...)
        __attribute__((format(printf, 3, 4)));
/* Leaves out what is less urgent. */
void hook_log_set_level(enum hook_log_level level);

#endif
