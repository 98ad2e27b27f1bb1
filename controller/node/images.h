/* SPDX-License-Identifier: Apache-2.0
 *
 * The images of a node's NodeSnapshotCache: what is wanted, how far it is, what is to be done next. No thread, no
 * clock, no file of its own: the agent brings them (agent.c).
 *
 * What the agent has fetched into the store is its own, by manifest digest, and goes when nothing wants it any more.
 * What was there before it came is others', and stays.
 */
#ifndef NODE_IMAGES_H
#define NODE_IMAGES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/error.h"

/* As in the CRD. */
#define NODE_IMAGES_MAX 512
#define NODE_REASON_MAX 64

struct node_images;

int node_images_new(struct node_images **out, struct zp_error *err);
void node_images_free(struct node_images *images);
ZP_DEFINE_AUTO(struct node_images, node_images_free);

/* What the agent's own are: {digest: image}. Read once at the start (borrowed; entries that are none are left out), and
 * asked for after each change, to be kept. */
int node_images_take_own(struct node_images *images, json_t *own, struct zp_error *err);
json_t *node_images_own(struct node_images *images); /* borrowed */

/* What the object's spec says now; NULL: there is none, so nothing is wanted. Entries that make no sense are left out:
 * the CRD's schema refuses them. */
void node_images_set(struct node_images *images, json_t *spec);

struct node_task {
        bool is_removal;
        char *image;                      /* what to pull; of a removal: its name when it was fetched */
        char digest[ZP_DIGEST_TEXT_SIZE]; /* "": what the name stands for; of a removal: what to remove */
        char *from;                       /* NULL: beside the image */
        bool is_complete;
        unsigned timeout_s;
        json_t *secrets; /* an array; NULL: none */
};
void node_task_clear(struct node_task *task);

/* 1: *task is to be done now, by the caller alone, until node_images_done() hears of it; 0: nothing is due before
 * *due_ms (UINT64_MAX: ever), or before a task that is under way has ended: no image is fetched and removed at a time.
 */
int node_images_next(struct node_images *images, uint64_t now_ms, struct node_task *task, uint64_t *due_ms,
                     struct zp_error *err);

/* How far a fetch is. True: another percent than before. */
bool node_images_progress(struct node_images *images, const struct node_task *task, uint64_t done, uint64_t total);

struct node_result {
        bool is_done;
        const char *reason;               /* CamelCase, when it is not */
        const char *message;              /* for people, then */
        char digest[ZP_DIGEST_TEXT_SIZE]; /* of the image that was fetched */
        bool was_present;                 /* before */
        uint64_t bytes;                   /* received for it */
};
/* A task has ended. A failure is tried again, after ten seconds, and twice as long each time, up to ten minutes. */
int node_images_done(struct node_images *images, const struct node_task *task, const struct node_result *result,
                     uint64_t now_ms, struct zp_error *err);

/* status without conditions: desired, ready, failed, images. New; NULL: no memory. */
json_t *node_images_status(struct node_images *images);

#endif
