/* SPDX-License-Identifier: Apache-2.0
 *
 * How a response's head is read, line by line.
 */
#ifndef ZP_OCI_HTTP_INTERNAL_H
#define ZP_OCI_HTTP_INTERNAL_H

#include "oci/http.h"

/* A status line starts the response anew: one may come from a proxy or be a "100 Continue". */
void zp_http_read_status_line(struct zp_http_response *response, const char *line, size_t size);
/* One header field with its line end; one that nobody asks for is forgotten. False: out of memory. */
bool zp_http_read_field(struct zp_http_response *response, const char *line, size_t size);

#endif
