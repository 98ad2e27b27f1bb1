/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/progress-format.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/output.h"

/* After this long an old rate counts half. */
#define HALF_LIFE_MS 2000.0
/* Before that, a rate is a guess. */
#define RATE_KNOWN_MS 500
#define BAR_MIN 10u
#define BAR_MAX 40u
#define LEFT_MAX_S (99 * 3600)

void progress_rate_update(struct progress_rate *rate, uint64_t now_ms, uint64_t done) {
        if (!rate->is_started) {
                *rate = (struct progress_rate){ .is_started = true, .last_ms = now_ms, .last_done = done };
                return;
        }
        uint64_t elapsed = now_ms - rate->last_ms;
        if (elapsed == 0 || now_ms < rate->last_ms)
                return;
        double now = (double) (done > rate->last_done ? done - rate->last_done : 0) * 1000 / (double) elapsed;
        /* Until the half-life is over this is the plain average; then the weight of what is new stays. */
        double seen = (double) rate->watched_ms < HALF_LIFE_MS ? (double) rate->watched_ms : HALF_LIFE_MS;
        rate->per_second = (rate->per_second * seen + now * (double) elapsed) / (seen + (double) elapsed);
        rate->watched_ms += elapsed;
        rate->last_ms = now_ms;
        rate->last_done = done;
}

int64_t progress_rate_left_s(const struct progress_rate *rate, uint64_t left) {
        if (left == 0)
                return 0;
        if (rate->watched_ms < RATE_KNOWN_MS || rate->per_second < 1)
                return -1;
        double seconds = (double) left / rate->per_second;
        return seconds < LEFT_MAX_S ? (int64_t) (seconds + 0.999) : -1;
}

char *progress_left_text(int64_t seconds, char text[PROGRESS_LEFT_TEXT]) {
        if (seconds < 0)
                snprintf(text, PROGRESS_LEFT_TEXT, "-:--");
        else if (seconds < 3600)
                snprintf(text, PROGRESS_LEFT_TEXT, "%" PRId64 ":%02" PRId64, seconds / 60, seconds % 60);
        else
                snprintf(text, PROGRESS_LEFT_TEXT, "%" PRId64 ":%02" PRId64 ":%02" PRId64, seconds / 3600,
                         seconds / 60 % 60, seconds % 60);
        return text;
}

static void append_bar(char *text, size_t size, unsigned width, uint64_t done, uint64_t total) {
        size_t used = strlen(text);
        unsigned full = (unsigned) ((double) done / (double) total * width);
        if (used + width + 3 > size)
                return;
        memset(text + used, ' ', width + 3);
        text[used + 1] = '[';
        memset(text + used + 2, '=', full);
        if (full < width)
                text[used + 2 + full] = '>';
        text[used + 2 + width] = ']';
        text[used + 3 + width] = '\0';
}

void progress_line_text(const struct progress_line *line, unsigned columns, char *text, size_t size) {
        char done_text[CLI_SIZE_TEXT], total_text[CLI_SIZE_TEXT], rate_text[CLI_SIZE_TEXT], left[PROGRESS_LEFT_TEXT];
        char amount[80] = "", speed[80] = "", percent[16] = "";
        uint64_t done = line->total && line->done > line->total ? line->total : line->done;
        cli_size_text(done, done_text);
        if (line->total) {
                snprintf(amount, sizeof amount, "  %s of %s", done_text, cli_size_text(line->total, total_text));
                snprintf(percent, sizeof percent, " %3u%%", (unsigned) ((double) done / (double) line->total * 100));
        } else {
                snprintf(amount, sizeof amount, "  %s", done_text);
        }
        if (line->rate->watched_ms >= RATE_KNOWN_MS) {
                int64_t left_s = line->total ? progress_rate_left_s(line->rate, line->total - done) : -1;
                snprintf(speed, sizeof speed, "  %s/s", cli_size_text((uint64_t) line->rate->per_second, rate_text));
                if (line->total)
                        snprintf(speed + strlen(speed), sizeof speed - strlen(speed), "  %s left",
                                 progress_left_text(left_s, left));
        }
        if (columns >= size)
                columns = (unsigned) size - 1;
        snprintf(text, columns + 1, "%s", line->label);
        size_t fixed = strlen(text) + strlen(percent);
        if (fixed + strlen(amount) > columns)
                amount[0] = '\0';
        if (fixed + strlen(amount) + strlen(speed) > columns)
                speed[0] = '\0';
        size_t used = fixed + strlen(amount) + strlen(speed);
        /* 3: a space and the brackets; the numbers to the right may grow and must not make it jump */
        if (line->total && used + 3 + BAR_MIN <= columns && columns > 60) {
                unsigned width = columns - 60;
                append_bar(text, size,
                           width < BAR_MIN   ? BAR_MIN
                           : width > BAR_MAX ? BAR_MAX
                                             : width,
                           done, line->total);
                if (strlen(text) + used - strlen(line->label) > columns)
                        text[strlen(line->label)] = '\0';
        }
        size_t at = strlen(text);
        snprintf(text + at, columns + 1 - at, "%s%s%s", percent, amount, speed);
}
