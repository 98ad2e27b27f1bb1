/* SPDX-License-Identifier: Apache-2.0
 *
 * Times and durations as Kubernetes' objects write them.
 */
#ifndef CTL_TIME_H
#define CTL_TIME_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CTL_TIME_SIZE 32

/* "1h30m", "90s": pairs of digits and one of h, m, s, as Go's time.ParseDuration reads them, without fractions. False:
 * it is none, or longer than a hundred years. */
bool ctl_parse_duration(const char *text, int64_t *seconds);
/* RFC 3339 with any fraction (which is dropped) and offset; seconds since 1970. False: it is none. */
bool ctl_parse_time(const char *text, int64_t *seconds);
/* "2026-01-02T03:04:05Z"; "" for 0. Returns `text`. */
char *ctl_time_text(int64_t seconds, char text[CTL_TIME_SIZE]);

static inline int64_t ctl_now(void) {
        return (int64_t) time(NULL);
}

#endif
