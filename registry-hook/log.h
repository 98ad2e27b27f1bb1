/* SPDX-License-Identifier: Apache-2.0
 *
 * The service's log: one line each on stderr, with the priority in front as systemd's journal reads it.
 */
#ifndef HOOK_LOG_H
#define HOOK_LOG_H

enum hook_log_level { HOOK_LOG_ERROR = 3, HOOK_LOG_WARNING = 4, HOOK_LOG_INFO = 6 };

/* Any thread. Control characters become '?'. */
void hook_log(enum hook_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Leaves out what is less urgent. */
void hook_log_set_level(enum hook_log_level level);

#endif
