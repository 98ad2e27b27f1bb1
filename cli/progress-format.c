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
/* " [" "] 100%  999.9/999.9 MB  999.9 MB/s  59:59 left" */
#define NUMBERS_MAX 49u
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

/* "12.3/460.1 MB": both in the unit of the total. */
static void amount_text(uint64_t done, uint64_t total, char *text, size_t size) {
        struct cli_unit unit = cli_size_unit(total ? total : done);
        int used = snprintf(text, size, "  %.*f", unit.decimals, (double) done / unit.divisor);
        if (total)
                snprintf(text + used, size - (size_t) used, "/%.*f", unit.decimals, (double) total / unit.divisor);
        snprintf(text + strlen(text), size - strlen(text), " %s", unit.name);
}

static void speed_text(const struct progress_rate *rate, uint64_t total, uint64_t left, char *text, size_t size) {
        char rate_text[CLI_SIZE_TEXT], left_text[PROGRESS_LEFT_TEXT];
        if (rate->watched_ms < RATE_KNOWN_MS)
                return;
        cli_size_text((uint64_t) rate->per_second, rate_text);
        if (total)
                snprintf(text, size, "  %s/s  %s left", rate_text,
                         progress_left_text(progress_rate_left_s(rate, left), left_text));
        else
                snprintf(text, size, "  %s/s", rate_text);
}

void progress_line_text(const struct progress_line *line, unsigned columns, char *text, size_t size) {
        char amount[80] = "", speed[80] = "", percent[16] = "";
        uint64_t total = line->total, done = total && line->done > total ? total : line->done;
        if (total)
                snprintf(percent, sizeof percent, " %3u%%", (unsigned) ((double) done / (double) total * 100));
        amount_text(done, total, amount, sizeof amount);
        speed_text(line->rate, total, total - done, speed, sizeof speed);
        if (columns >= size)
                columns = (unsigned) size - 1;
        snprintf(text, columns + 1, "%s", line->label);
        size_t used = strlen(text) + strlen(percent);
        /* The bar's width does not depend on the numbers to its right, so that it does not jump with them. */
        if (total && strlen(text) + NUMBERS_MAX + BAR_MIN <= columns) {
                unsigned width = columns - (unsigned) strlen(text) - NUMBERS_MAX;
                append_bar(text, size, width < BAR_MAX ? width : BAR_MAX, done, total);
                used = strlen(text) + strlen(percent);
        }
        if (used + strlen(amount) > columns)
                amount[0] = '\0';
        if (used + strlen(amount) + strlen(speed) > columns)
                speed[0] = '\0';
        size_t at = strlen(text);
        snprintf(text + at, columns + 1 - at, "%s%s%s", percent, amount, speed);
}
