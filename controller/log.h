/* SPDX-License-Identifier: Apache-2.0
 *
 * The log of the controller and of the nodes' agent: one line each on stderr, with the priority in front as systemd's
 * journal reads it.
 */
#ifndef CTL_LOG_H
#define CTL_LOG_H

enum ctl_log_level { CTL_LOG_ERROR = 3, CTL_LOG_WARNING = 4, CTL_LOG_INFO = 6 };

/* Any thread. Control characters become '?'. */
void ctl_log(enum ctl_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
