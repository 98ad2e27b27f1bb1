/* SPDX-License-Identifier: Apache-2.0
 *
 * What is said in NRI's messages (nri.h): ttrpc's requests and responses, without their headers.
 */
#ifndef NODE_NRI_CALLS_H
#define NODE_NRI_CALLS_H

#include "base/buffer.h"
#include "controller/node/nri.h"

/* ttrpc's limit. */
#define NODE_NRI_MESSAGE_MAX ((size_t) 4 << 20)

/* The request with which the plugin introduces itself. */
int node_nri_register(struct zp_buffer *out, struct zp_error *err);
/* The answer to it. -EPERM: containerd does not want the plugin; -EBADMSG. */
int node_nri_registered(const void *data, size_t size, struct zp_error *err);
/* Answers one of containerd's requests, by `options->check` where it is to make a container. -EBADMSG: it is none. */
int node_nri_answer(const struct node_nri_options *options, const void *data, size_t size, struct zp_buffer *out,
                    struct zp_error *err);

#endif
