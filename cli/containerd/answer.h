/* SPDX-License-Identifier: Apache-2.0
 *
 * The answer to a gRPC call as it comes over HTTP/2: headers, framed messages, and trailers with the outcome.
 * Specification: github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md.
 */
#ifndef CONTAINERD_ANSWER_H
#define CONTAINERD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"

/* What precedes a message: 0 for "not compressed", and its size, big-endian. */
#define CONTAINERD_FRAME_HEADER 5
#define CONTAINERD_ANSWER_MAX (4u << 20)

/* A zeroed one is ready. Clear the body when done. */
struct containerd_answer {
        bool has_status;
        unsigned status;
        char message[700]; /* why, when the status is not 0 */
        struct zp_buffer body;
};

void containerd_frame_header(uint8_t header[CONTAINERD_FRAME_HEADER], uint32_t message_size);
/* A header or trailer line, as it came; only those that tell the outcome are kept. */
void containerd_answer_take_header(struct containerd_answer *answer, const char *line, size_t size);
/* False: no memory, or more than CONTAINERD_ANSWER_MAX. */
bool containerd_answer_take_body(struct containerd_answer *answer, const void *data, size_t size);

/* The outcome: 0, or the errno that stands for the status: -ENOENT, -EEXIST, -EINVAL, …; -EPROTO: none came. */
int containerd_answer_result(const struct containerd_answer *answer, struct zp_error *err);
/* The first message of the body, which stays the answer's. -EPROTO: there is none, or it is compressed. */
int containerd_answer_first(const struct containerd_answer *answer, const uint8_t **data, size_t *size,
                            struct zp_error *err);

#endif
