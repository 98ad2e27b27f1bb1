/* SPDX-License-Identifier: Apache-2.0
 *
 * One task of node_images: what is run for it, and what came of it.
 */
#ifndef NODE_FETCH_H
#define NODE_FETCH_H

#include "controller/node/agent.h"
#include "controller/node/images.h"

#define NODE_MESSAGE_SIZE 1024

struct node_fetched {
        struct node_result result; /* its texts are in the next ones, or constants */
        char message[NODE_MESSAGE_SIZE];
};

/* How far a pull is: of all that it knows by now that it has to fetch. */
struct node_watcher {
        void (*got)(void *context, const struct node_task *task, uint64_t done, uint64_t total);
        void *context;
};

/* Pulls or removes. Any thread. */
void node_fetch(const struct node_options *options, const struct node_task *task, const struct node_watcher *watcher,
                struct node_fetched *out);

#endif
