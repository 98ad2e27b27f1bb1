/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon's log: one line of logfmt per event on stderr, where journald takes it.
 *
 *   time=2026-01-02T03:04:05.678Z level=info part=control msg="snapshot removed" key=default/7/web
 *
 * Names of fields are the same everywhere: `error` is why something failed, `hint` what to do, `image` a reference,
 * `manifest` its digest, `key` a snapshot's, `took_ms` a time.
 */
#ifndef SNAP_LOG_H
#define SNAP_LOG_H

#include <stdbool.h>

enum snap_log_level { SNAP_LOG_DEBUG, SNAP_LOG_INFO, SNAP_LOG_WARN, SNAP_LOG_ERROR };

/* Which of the daemon's processes this is; static. Before threads are started; no field to begin with. */
void snap_log_set_part(const char *part);
/* What is below `level` is left out. Before threads are started; "info" to begin with. */
void snap_log_set_level(enum snap_log_level level);
/* "debug", "info", "warn", "error". */
bool snap_log_parse_level(const char *text, enum snap_log_level *out);

/* `message`, then pairs of a field's name and its value, then NULL. A field whose value is NULL is left out. Values are
 * quoted where they must be, and never break the line. Any thread; a line is written at once. */
void snap_log_event(enum snap_log_level level, const char *message, ...) __attribute__((sentinel));

#endif
