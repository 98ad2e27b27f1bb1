/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server's refusal means for the user.
 */
#ifndef ZP_OCI_RESPONSE_ERROR_H
#define ZP_OCI_RESPONSE_ERROR_H

#include "oci/http.h"

/* Turns a response that is not a success into an error: -EACCES (401, 403), -ENOENT (404), -EBUSY (429), else
 * -EIO. The text is the server's own where its body has one ({"errors":[{"code","message"}]}). `registry`
 * is for the hint. */
int zp_response_error(const struct zp_http_response *response, const char *registry, struct zp_error *err);

#endif
