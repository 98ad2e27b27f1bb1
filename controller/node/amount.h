/* SPDX-License-Identifier: Apache-2.0
 *
 * How much of an image is here, from the lines of JSON that `zeropull pull --progress json` writes (cli/progress.h).
 */
#ifndef NODE_AMOUNT_H
#define NODE_AMOUNT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct node_amount {
        json_t *tasks; /* label to [done, total]; NULL at first */
        uint64_t done, total;
};
void node_amount_clear(struct node_amount *amount);

/* A line of it. A task that was told of and is not any more has ended. What makes no sense is passed over. True: there
 * is something new. `total` grows when a task begins, and `done` never falls. */
bool node_amount_add(struct node_amount *amount, const char *line);
/* 0 to 100; rounded down. */
unsigned node_amount_percent(uint64_t done, uint64_t total);

#endif
