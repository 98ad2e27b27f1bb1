/* SPDX-License-Identifier: Apache-2.0
 *
 * The arithmetic and the text of a progress bar, without a terminal.
 */
#ifndef ZP_CLI_PROGRESS_FORMAT_H
#define ZP_CLI_PROGRESS_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A rate that follows the last few seconds. Zeroed: nothing known. */
struct progress_rate {
        bool is_started;
        uint64_t last_ms, last_done;
        uint64_t watched_ms; /* how long it has been watched */
        double per_second;   /* 0: not known yet */
};

/* Tells how much is done in all at a time; times never go back. */
void progress_rate_update(struct progress_rate *rate, uint64_t now_ms, uint64_t done);
/* Seconds that the rest takes at this rate; -1: not known. */
int64_t progress_rate_left_s(const struct progress_rate *rate, uint64_t left);

/* "0:07", "12:30", "3:05:00", "-:--" when not known. */
#define PROGRESS_LEFT_TEXT 24
char *progress_left_text(int64_t seconds, char text[PROGRESS_LEFT_TEXT]);

struct progress_line {
        const char *label;    /* "layer 3/5" */
        uint64_t done, total; /* bytes; total 0: not known, then there is no bar */
        const struct progress_rate *rate;
};

/* Writes the line in at most `columns` columns (all ASCII), leaving out what has no room: first the bar, then
 * the rate, then the amount. `size` > 0. */
void progress_line_text(const struct progress_line *line, unsigned columns, char *text, size_t size);

#endif
